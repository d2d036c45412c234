"""The experiment: a meta-learned network beside its rivals, on units never seen before."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch

from metaphys._runs import MEASUREMENTS, Progress, RunDirectory
from metaphys.training._classical import (
    CHOOSING,
    classical_setting,
    classical_step,
    start_step,
)
from metaphys.training._config import Config
from metaphys.training._data import some
from metaphys.training._draws import Params
from metaphys.training._judge import Recipe, Verdict, judge, linear_accuracy, sweep
from metaphys.training._model import learned_recipe, save_model
from metaphys.training._phases import Phases
from metaphys.training._problem import Problem, build
from metaphys.training._results import CLASSICAL, FULL, SWEEPS, TWIN_STARTS
from metaphys.training._starts import VALIDATION, Starts, held_out_units, learn
from metaphys.training._tuned import TUNED, Grid
from metaphys.training.recalibration import Setting


class Comparison:
    """Every method on the held-out units.

    Args:
        problem: the problem.
        phases: of the run.
        starts: what was learned.

    Attributes:
        courses: of each method that adapts, its mean accuracy after 0, 1, … steps, and the seconds
            that all of them take on one unit.
        tried: by start, the accuracy on validation units that training on a twin ends at.
    """

    def __init__(self, problem: Problem, phases: Phases, starts: Starts) -> None:
        self.problem, self.phases, self.starts = problem, phases, starts
        self.units = held_out_units(problem.config)
        self.courses: dict[str, dict[str, Any]] = {}
        self.tried: dict[str, float] = {}

    def tuned(self, grid: Grid) -> tuple[dict[str, Recipe], dict[str, Any]]:
        """Fine-tuning of each start, and how its rate was found."""
        recipes, sweeps = {}, {}
        rivals = self.starts.rivals
        with self.phases.shown("tuning the rivals", len(rivals)) as advance:
            for done, (name, start) in enumerate(rivals.items(), 1):
                recipes[name], tried = sweep(self.problem.learning, start, VALIDATION, grid)
                sweeps[name] = {"chosen": recipes[name].name, "sweep": tried}
                advance(done)
        return recipes, sweeps

    def verdicts(self, recipes: Mapping[str, Recipe]) -> dict[str, Verdict]:
        """What every method reached."""
        starts, start = self.starts, self.starts.meta["start"]
        classical = self._classical()
        ways: dict[str, Callable[[], Verdict]] = {
            "another unit's": partial(self._judged, starts.another)
        }
        for name, rival in starts.rivals.items():
            tuned = f"{name} + fine-tuning"
            ways[name] = partial(self._judged, rival)
            ways[tuned] = partial(self._adapted, tuned, rival, recipes[name])
        recipe = learned_recipe(self.problem, starts.meta)
        ways[CLASSICAL] = lambda: classical
        ways["meta-learned start, not adapted"] = partial(self._judged, start)
        ways["meta-learned"] = partial(self._adapted, "meta-learned", start, recipe)
        ways[FULL] = partial(self._judged, starts.full.params, own=True)
        found: dict[str, Verdict] = {}
        with self.phases.shown("judging", len(ways)) as advance:
            for name, judged in ways.items():
                found[name] = judged()
                advance(len(found))
        return found

    def _judged(self, start: Any, own: bool = False) -> Verdict:
        return judge(self.problem, self.units, start, self.problem.data.test, own=own)

    def _adapted(self, name: str, start: Any, recipe: Recipe) -> Verdict:
        """After all steps; on fewer test samples, after each of them."""
        problem, test = self.problem, self.problem.data.test
        few = some(test, TUNED[problem.config.system].chosen_on)
        verdict = judge(problem, self.units, start, test, recipe=recipe, looked=few)
        self.courses[name] = {"accuracy": verdict.course, "seconds": verdict.seconds}
        return verdict

    def _classical(self) -> Verdict:
        problem = self.problem
        units = self.units[: problem.config.classical_units]
        setting = classical_setting(problem)
        step = classical_step(problem, setting, self._start_of_twin(setting), units)
        zero = torch.zeros(len(units), dtype=torch.float64)
        reached = self.phases("fitted twin", zero, step, len(units))
        return Verdict(reached, setting.config.budgets[-1], {})

    def _start_of_twin(self, setting: Setting) -> Params:
        """The start that training on a twin goes furthest from, on validation units."""
        starts = self.starts.rivals
        zero = torch.zeros(len(starts), len(CHOOSING), dtype=torch.float64)
        step = start_step(self.problem, setting, [*starts.values()])
        found = self.phases("start of the fitted twin", zero, step, zero.numel())
        self.tried = dict(zip(starts, found.mean(-1).tolist(), strict=True))
        return starts[max(self.tried, key=self.tried.__getitem__)]

    def rows(self, verdicts: Mapping[str, Verdict]) -> list[dict[str, Any]]:
        """The rows of ``metrics.csv``."""
        config, train = self.problem.config, len(self.problem.data.train)
        rows = [self._row("linear classifier", -1, train, 0, linear_accuracy(self.problem.data))]
        for method, verdict in verdicts.items():
            calls = verdict.device_calls
            labels = config.labels if calls and method != CLASSICAL else 0
            costs = [(labels, calls)] * len(self.units)
            if method == FULL:
                costs = list(zip(self.starts.full.labels, self.starts.full.calls))
            for unit, accuracy, cost in zip(self.units, verdict.accuracy.tolist(), costs):
                rows.append(self._row(method, unit, *cost, accuracy))
        return rows

    def _row(
        self, method: str, unit: int, labels: int, calls: int, accuracy: float
    ) -> dict[str, Any]:
        return {
            "method": method,
            "seed": self.problem.config.seed,
            "unit": unit,
            "labels": labels,
            "device_calls": calls,
            "accuracy": round(accuracy, 6),
        }


def meta_train(
    config: Config, run: RunDirectory, progress: Progress, *, grid: Grid | None = None
) -> list[dict[str, Any]]:
    """Run the whole experiment into a run directory, or what is left of it.

    Args:
        config: what to do.
        run: where; what is stored there already is not computed again.
        progress: what a person sees meanwhile.
        grid: the rates that the rivals' fine-tuning is tuned over; those of the system by default.

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
    # What our own simulation answers costs no more than reading it back.
    archive = None if config.device == "simulated" else run.path / MEASUREMENTS
    problem = dataclasses.replace(build(config), archive=archive)
    phases = Phases(run, progress)
    starts = learn(problem, phases)
    save_model(run.path / "model.safetensors", config, starts.meta)
    comparison = Comparison(problem, phases, starts)
    recipes, sweeps = comparison.tuned(TUNED[config.system].grid if grid is None else grid)
    rows = comparison.rows(comparison.verdicts(recipes))
    run.write_json("curves.json", phases.curves)
    tuned = {entry: sweeps[start] for entry, start in SWEEPS.items()}
    told = {TWIN_STARTS: comparison.tried, "courses": comparison.courses}
    run.write_json("summary.json", {**tuned, **told, "seconds": phases.seconds})
    run.write_metrics(rows)
    return rows
