"""The experiment of ``metaphys recalibrate``: learn on other units, then adapt units never seen."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from metaphys._runs import MEASUREMENTS, METRICS, Progress, RunDirectory
from metaphys.training._data import some
from metaphys.training._draws import TEST_UNITS, Params
from metaphys.training._flat import courses
from metaphys.training._judge import linear_accuracy
from metaphys.training._phases import Phases
from metaphys.training.recalibration import _learning as learning
from metaphys.training.recalibration._attempts import Attempt, Attempts, judging, nothing, rows
from metaphys.training.recalibration._build import build
from metaphys.training.recalibration._config import RecalibrationConfig
from metaphys.training.recalibration._full import full_training
from metaphys.training.recalibration._methods import (
    classical,
    recalibrated,
    untouched,
    with_labels,
)
from metaphys.training.recalibration._names import (
    ANOTHER,
    FULL,
    IN_SILICO,
    LINEAR,
    OURS,
    POPULATION,
    START,
    fine_tuning,
    gauss_newton,
    under,
)
from metaphys.training.recalibration._setting import Setting

LABELS = 10_000
"""Samples that the linear classifier is trained on, at most."""

Row = dict[str, Any]


class Experiment:
    """Ours and every rival, on the same units under the same budgets.

    Args:
        config: what to do.
        run: where to store it.
        progress: what a person sees meanwhile.
    """

    def __init__(self, config: RecalibrationConfig, run: RunDirectory, progress: Progress) -> None:
        built = build(config)
        self.setting: Setting = dataclasses.replace(built, archive=run.path / MEASUREMENTS)
        self.config, self.phase = config, Phases(run, progress)
        self.units = range(TEST_UNITS, TEST_UNITS + config.units)
        self.rows: list[Row] = []
        self.summary: dict[str, Any] = {"rates": {}}

    def judge(self, name: str, attempts: Attempts, *, budgets: bool = False, most: int = 0) -> None:
        """A method on every held-out unit, or on the first ``most``; a step is a unit."""
        units = self.units[:most] if most else self.units
        names = under(name, self.config.budgets) if budgets else [name]
        step = judging(self.setting, units, attempts)
        found = self.phase(f"judging {name}", nothing(len(units), len(names)), step, len(units))
        self.rows += rows(names, self.config.seed, units, found)

    def main(self) -> None:
        """All of it."""
        setting, phase = self.setting, self.phase
        prior = learning.the_prior(setting, phase)
        nominal = base = learning.in_silico(setting, phase)
        self.judge(IN_SILICO, untouched(nominal))
        if setting.correct is not None:
            # What nothing takes back is trained away: from controls that were made for one unit
            # that is quicker than from those that suit all (plates: 89 % against 87 % after 300).
            base = learning.meta_start(setting, phase, prior)
            self.judge(START, untouched(base))
        self.judge(OURS, recalibrated(setting, prior, base), budgets=True)
        for draws in sorted({0, setting.guess.draws}):
            self.judge(gauss_newton(draws), classical(setting, nominal, draws), budgets=True)
        other = learning.of_another(setting, phase, prior, base)
        self.judge(ANOTHER, untouched(other))
        population = learning.population_start(setting, phase, prior)
        self.judge(POPULATION, untouched(population))
        self.with_labels({IN_SILICO: nominal, POPULATION: population})
        self.fully(base)
        self.linear()
        moments = prior.unknowns.moments().tolist()
        self.summary["prior"] = {"moments": moments, "noise": prior.noise}

    def told(self) -> dict[str, Any]:
        """What ``summary.json`` holds: the prior, how fine-tuning was tuned, and times."""
        adapting: dict[str, list[float]] = {}
        for row in self.rows:
            adapting.setdefault(row["method"], []).append(row["seconds"])
        return {**self.summary, "seconds": self.phase.seconds, "adapting": adapting}

    def with_labels(self, starts: dict[str, Params]) -> None:
        """Fine-tuning, tuned on validation units."""
        for start, params in starts.items():
            chosen = learning.choose(self.setting, self.phase, start, params)
            self.summary["rates"] |= chosen.sweeps
            name = fine_tuning(start)
            attempts = with_labels(self.setting, params, name, chosen.kinds)
            self.judge(name, attempts, budgets=True)

    def fully(self, start: Params) -> None:
        """Training without a budget, on the first units."""
        most, layers = min(self.config.full_units, self.config.units), len(self.setting.nominal)

        def trained(unit: int) -> Attempt:
            training, name = full_training(self.setting, start, unit), f"{FULL}, unit {unit}"
            end, epochs = self.phase.flat(name, training), training.epochs
            (course,) = courses(end)
            calls, seconds = layers * epochs.measured(course), self.phase.seconds[name]
            return Attempt(end.best, epochs.labels(course), calls, seconds)

        own = {unit: [trained(unit)] for unit in self.units[:most]}

        if most:
            self.judge(FULL, own.__getitem__, most=most)

    def linear(self) -> None:
        """Logistic regression on the same inputs, which sees no unit."""
        data = dataclasses.replace(self.setting.data, train=some(self.setting.data.train, LABELS))

        def step(state: torch.Tensor, index: int) -> torch.Tensor:
            return torch.tensor(linear_accuracy(data), dtype=torch.float64)

        found = float(self.phase(LINEAR, torch.zeros((), dtype=torch.float64), step, 1))
        row = {"method": LINEAR, "seed": self.config.seed, "unit": -1, "labels": len(data.train)}
        self.rows.append({**row, "device_calls": 0, "accuracy": round(found, 6), "seconds": 0.0})


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
        FloatingPointError: a loss is not finite; the last state is stored.

    Example:
        >>> import tempfile
        >>> from metaphys._runs import Silent
        >>> config = RecalibrationConfig(units=1, budgets=(4,)).quick()
        >>> run = RunDirectory(tempfile.mkdtemp(), config.to_json())
        >>> found = recalibrate(config, run, Silent())
        >>> [(row["method"], row["device_calls"]) for row in found[1:4]]
        [('start alone', 0), ('recalibrated, 4 calls', 4), ('Gauss-Newton, 4 calls', 4)]
    """
    torch.set_num_threads(1)
    experiment = Experiment(config, run, progress)
    experiment.main()
    run.write_json("curves.json", experiment.phase.curves)
    run.write_json("summary.json", experiment.told())
    # Without the seconds: the table is the same whenever a run is repeated.
    found = [{name: row[name] for name in METRICS} for row in experiment.rows]
    run.write_metrics(found)
    return found
