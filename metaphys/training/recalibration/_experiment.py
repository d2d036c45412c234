"""The experiment of ``metaphys recalibrate``: learn on other units, then adapt units never seen."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from metaphys._runs import Progress, RunDirectory
from metaphys.physics import OscillatorArray, OscillatorUnknowns
from metaphys.training._outer import begin
from metaphys.training._problem import TEST_UNITS, Params, generator
from metaphys.training.recalibration._config import RecalibrationConfig
from metaphys.training.recalibration._controls import cancelled
from metaphys.training.recalibration._prior import Prior, learn_prior
from metaphys.training.recalibration._recalibrate import adapted, identify
from metaphys.training.recalibration._setting import Setting, build
from metaphys.training.recalibration._start import Correction, always, training_step


class Judged(NamedTuple):
    """What was reached on the held-out units so far.

    Attributes:
        accuracy: (units, 1 + budgets): in silico, then recalibrated under each budget.
        calls: (units, 1 + budgets), device calls that were taken.
    """

    accuracy: Tensor
    calls: Tensor


class Experiment:
    """All phases of a run, each stored and continued by itself.

    Args:
        config: what to do.
        run: where to store it.
        progress: what a person sees meanwhile.
    """

    def __init__(self, config: RecalibrationConfig, run: RunDirectory, progress: Progress) -> None:
        self.config, self.run, self.progress = config, run, progress
        self.setting: Setting = build(config)
        self.units = range(TEST_UNITS, TEST_UNITS + config.units)

    def phase(self, name: str, state: Any, step: Any, steps: int) -> Any:
        """One phase; a phase that was finished is read."""
        with self.progress.phase(name, steps) as advance:
            return self.run.run_phase(name.replace(" ", "-"), state, step, steps, advance=advance)

    def prior(self) -> Prior:
        """What training units have in common."""
        config, array = self.config, self.setting.array
        own = config.gain_spread > 0

        def learned(state: Tensor, index: int) -> Tensor:
            guess = Prior(OscillatorUnknowns(array, 1.0, 0.0, 0.2, own), 0.01)
            units = [
                self.setting.measurement(unit, config.prior_calls)
                for unit in range(config.prior_units)
            ]
            found = learn_prior(guess, units, config.prior_calls, config.prior_rounds)
            unknowns = found.unknowns
            values = (unknowns.coupling, unknowns.gain, unknowns.gain_deviation, found.noise)
            return torch.tensor(values, dtype=torch.float64)

        state = torch.zeros(4, dtype=torch.float64)
        coupling, gain, deviation, noise = self.phase("prior", state, learned, 1).tolist()
        return Prior(OscillatorUnknowns(array, coupling, gain, deviation, own), noise)

    def start(self, name: str, units: Any, correction: Correction | None = None) -> Params:
        """Controls that training on these units gives."""
        config = self.config
        step = training_step(
            self.setting,
            units,
            steps=config.start_steps,
            lr=config.start_lr,
            key=(config.seed, name),
            correction=correction,
        )
        loop = begin(self.setting.initial(config.seed), config.start_steps)
        return self.phase(name, loop, step, config.start_steps).learned

    def meta_start(self, prior: Prior) -> Params:
        """Controls that are easiest to correct, on units imagined from the prior."""
        unknowns, seed = prior.unknowns, self.config.seed

        def imagined(index: int) -> OscillatorArray:
            return unknowns.system(
                torch.randn(unknowns.size, generator=generator(seed, "imagined", index))
            )

        def cancel(params: Params, system: OscillatorArray) -> Params:
            offset: Any = system.mismatch.coupling
            return cancelled(params, offset, self.config.coupling_limit)

        return self.start("meta start", imagined, cancel)

    def judge(self, prior: Prior, nominal: Params, start: Params) -> Judged:
        """Every held-out unit, one a step."""
        config, setting = self.config, self.setting
        test = setting.problem.data.test

        def unit(state: Judged, index: int) -> Judged:
            seed = self.units[index]
            found = [(setting.accuracy(nominal, setting.device(seed), test), 0)]
            measured = setting.measurement(seed, config.budgets[-1])
            reached, known = 0.0, None
            for posterior, calls in identify(prior, measured, config.budgets):
                if posterior is not known:  # else the controls are the same
                    params = adapted(setting, start, posterior, (config.seed, seed))
                    reached, known = setting.accuracy(params, setting.device(seed), test), posterior
                found.append((reached, calls))
            accuracy, calls = state.accuracy.clone(), state.calls.clone()
            accuracy[index] = torch.tensor([value for value, _ in found], dtype=torch.float64)
            calls[index] = torch.tensor([count for _, count in found])
            return Judged(accuracy, calls)

        shape = (config.units, 1 + len(config.budgets))
        state = Judged(torch.zeros(shape, dtype=torch.float64), torch.zeros(shape).long())
        return self.phase("held-out units", state, unit, config.units)

    def rows(self, judged: Judged) -> list[dict[str, Any]]:
        """The rows of ``metrics.csv``."""
        names = ["in silico", *(f"recalibrated, {b} calls" for b in self.config.budgets)]
        return [
            {
                "method": name,
                "seed": self.config.seed,
                "unit": unit,
                "labels": 0,
                "device_calls": int(judged.calls[index, column]),
                "accuracy": round(float(judged.accuracy[index, column]), 6),
            }
            for column, name in enumerate(names)
            for index, unit in enumerate(self.units)
        ]


def recalibrate(
    config: RecalibrationConfig, run: RunDirectory, progress: Progress
) -> list[dict[str, Any]]:
    """Run the whole experiment into a run directory, or what is left of it.

    Args:
        config: what to do.
        run: where; what is stored there already is not computed again.
        progress: what a person sees meanwhile.

    Returns:
        The rows of ``metrics.csv``.

    Raises:
        ValueError, FileNotFoundError: the data cannot be had.

    Example:
        >>> import tempfile
        >>> from metaphys._runs import Silent
        >>> config = RecalibrationConfig(units=1, budgets=(4,)).quick()
        >>> run = RunDirectory(tempfile.mkdtemp(), config.to_json())
        >>> [row["method"] for row in recalibrate(config, run, Silent())]
        ['in silico', 'recalibrated, 4 calls']
    """
    torch.set_num_threads(1)
    experiment = Experiment(config, run, progress)
    prior = experiment.prior()
    nominal = experiment.start("in silico", always(experiment.setting.array))
    judged = experiment.judge(prior, nominal, experiment.meta_start(prior))
    rows = experiment.rows(judged)
    unknowns = prior.unknowns
    learned = {name: getattr(unknowns, name) for name in ("coupling", "gain", "gain_deviation")}
    run.write_json("summary.json", {"prior": {**learned, "noise": prior.noise}})
    run.write_metrics(rows)
    return rows
