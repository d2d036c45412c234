"""The experiment: a meta-learned network beside its rivals, on units never seen before."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from metaphys._runs import Progress, RunDirectory
from metaphys.training import _outer
from metaphys.training._config import Config
from metaphys.training._draws import TEST_UNITS, VALIDATION_UNITS
from metaphys.training._judge import GRID, Grid, Recipe, Verdict, judge, linear_accuracy, sweep
from metaphys.training._loop import Loop, begin, selecting
from metaphys.training._model import learned_recipe, save_model
from metaphys.training._problem import build
from metaphys.training._results import SWEEPS

NOMINAL_LR, RIVAL_LR, WARM_LR = 1e-2, 0.5, 2e-2
"""Step sizes of training in silico, of the rival start, and of the start of meta-learning.

The first is the best for the nominal model, which is all that training in silico can see; the
second is the best of a sweep on validation units (docs/results/recalibration-digits.md).
"""

SHARP_LR, RADIUS = 0.1, 4.0
"""Step size and radius of sharpness-aware training, the best of a sweep there too."""

VALIDATION = range(VALIDATION_UNITS, VALIDATION_UNITS + 10)


def held_out_units(config: Config) -> list[int]:
    """The held-out units of a seed; other seeds have others."""
    first = TEST_UNITS + 100 * config.seed
    return list(range(first, first + config.units))


class Experiment:
    """All phases of a run, each stored and continued by itself.

    Args:
        config: what to do.
        run: where to store it.
        progress: what a person sees meanwhile.
        grid: the rates that the rivals' fine-tuning is tuned over.
    """

    def __init__(
        self, config: Config, run: RunDirectory, progress: Progress, grid: Grid = GRID
    ) -> None:
        self.problem, self.grid = build(config), grid
        self.config, self.run, self.progress = config, run, progress
        self.units = held_out_units(config)
        self.curves: dict[str, dict[str, list[float]]] = {}
        self.seconds: dict[str, float] = {}

    def outer(self, name: str, begin: Loop, step: Any, steps: int) -> Any:
        """One outer loop; what it learned."""
        with self._timed(name), self.progress.phase(name, steps) as advance:
            end = self.run.run_phase(name.replace(" ", "-"), begin, step, steps, advance=advance)
        losses = end.losses[:steps].tolist()
        self.curves[name] = {"step": list(range(1, steps + 1)), "loss": losses}
        return end.learned if end.score < 0 else end.best

    def _score(self, learned: Any) -> float:
        """Validation accuracy of a start: as it is, or adapted if it has step sizes."""
        recipe = learned_recipe(learned) if "rates" in learned else None
        start = learned["start"] if recipe else learned
        part = self.problem.data.validation
        return float(judge(self.problem, VALIDATION, start, part, recipe=recipe).accuracy.mean())

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - began, 2)

    def learn(self) -> dict[str, Any]:
        """Every start that is compared."""
        config, problem = self.config, self.problem
        steps = config.population_steps + config.meta_steps
        nominal = self.outer(
            "in silico",
            begin(problem.initial, config.nominal_steps),
            _outer.nominal_step(problem, config.nominal_steps, NOMINAL_LR),
            config.nominal_steps,
        )
        sharp = self.outer(
            "sharpness-aware",
            begin(problem.initial, config.nominal_steps),
            _outer.nominal_step(problem, config.nominal_steps, SHARP_LR, RADIUS),
            config.nominal_steps,
        )
        rival = self.outer(
            "population start",
            begin(problem.initial, steps),
            selecting(
                _outer.population_step(problem, "rival", steps, RIVAL_LR), self._score, steps
            ),
            steps,
        )
        warm = self.outer(
            "warm start",
            begin(problem.initial, config.population_steps),
            _outer.population_step(problem, "warm", config.population_steps, WARM_LR),
            config.population_steps,
        )
        meta = self.outer(
            "meta-learning",
            _outer.begin_meta(warm, config.adapt_steps, config.meta_steps),
            selecting(_outer.meta_step(problem, config.meta_steps), self._score, config.meta_steps),
            config.meta_steps,
        )
        own = {n: v.expand(len(self.units), *v.shape).clone() for n, v in nominal.items()}
        full = self.outer(
            "full training",
            begin(own, config.full_steps),
            _outer.full_step(problem, self.units, config.full_steps),
            config.full_steps,
        )
        rivals = {"in silico": nominal, "sharpness-aware": sharp, "population start": rival}
        return {"rivals": rivals, "meta": meta, "full": full}

    def compare(self, starts: dict[str, Any]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """The rows of ``metrics.csv``, and how the rivals were tuned."""
        problem, config = self.problem, self.config
        test = problem.data.test
        rivals, tuned, sweeps = starts["rivals"], {}, {}
        with (
            self._timed("sweeps"),
            self.progress.phase("tuning the rivals", len(rivals)) as advance,
        ):
            for done, (name, start) in enumerate(rivals.items(), 1):
                tuned[name], tried = sweep(problem, start, VALIDATION, self.grid)
                sweeps[name] = {"chosen": tuned[name].name, "sweep": tried}
                advance(done)

        def on_units(start: Any, recipe: Recipe | None = None, own: bool = False) -> Verdict:
            return judge(problem, self.units, start, test, recipe=recipe, own=own)

        learned = starts["meta"]
        verdicts = {}
        for name, start in rivals.items():
            verdicts[name] = on_units(start)
            verdicts[f"{name} + fine-tuning"] = on_units(start, tuned[name])
        verdicts |= {
            "meta-learned start, not adapted": on_units(learned["start"]),
            "meta-learned": on_units(learned["start"], learned_recipe(learned)),
            "full training": on_units(starts["full"], own=True),
        }
        rows = [
            self._row(
                "linear classifier",
                -1,
                len(problem.data.train),
                0,
                linear_accuracy(self.problem.data),
            )
        ]
        for method, verdict in verdicts.items():
            labels = config.labels if verdict.device_calls else 0
            calls = verdict.device_calls
            if method == "full training":
                labels, calls = len(problem.data.train), _outer.BATCH * config.full_steps
            for unit, accuracy in zip(self.units, verdict.accuracy.tolist()):
                rows.append(self._row(method, unit, labels, calls, accuracy))
        return rows, sweeps

    def _row(
        self, method: str, unit: int, labels: int, calls: int, accuracy: float
    ) -> dict[str, Any]:
        return {
            "method": method,
            "seed": self.config.seed,
            "unit": unit,
            "labels": labels,
            "device_calls": calls,
            "accuracy": round(accuracy, 6),
        }


def meta_train(
    config: Config, run: RunDirectory, progress: Progress, *, grid: Grid = GRID
) -> list[dict[str, Any]]:
    """Run the whole experiment into a run directory, or what is left of it.

    Args:
        config: what to do.
        run: where; what is stored there already is not computed again.
        progress: what a person sees meanwhile.
        grid: the rates that the rivals' fine-tuning is tuned over.

    Returns:
        The rows of ``metrics.csv``.

    Raises:
        ValueError, FileNotFoundError: the data cannot be had.
        FloatingPointError: a loss is not finite; the last state is stored.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from metaphys.training import Config, RunDirectory
        >>> from metaphys._runs import Silent
        >>> config = Config(data="mnist", data_root=Path("nowhere"))
        >>> run = RunDirectory(tempfile.mkdtemp(), config.to_json())
        >>> meta_train(config, run, Silent())
        Traceback (most recent call last):
        ...
        FileNotFoundError: `root` ...
    """
    torch.set_num_threads(config.threads)
    experiment = Experiment(config, run, progress, grid)
    starts = experiment.learn()
    save_model(run.path / "model.safetensors", config, starts["meta"])
    rows, sweeps = experiment.compare(starts)
    run.write_json("curves.json", experiment.curves)
    tuned = {entry: sweeps[start] for entry, start in SWEEPS.items()}
    run.write_json("summary.json", {**tuned, "seconds": experiment.seconds})
    run.write_metrics(rows)
    return rows
