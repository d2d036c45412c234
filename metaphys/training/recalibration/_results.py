"""Finished runs of ``metaphys recalibrate``, read back: what methods cost in time, and rates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metaphys._runs import read_metrics
from metaphys._runs._shape import EACH, check_like
from metaphys._runs._stored import read_json
from metaphys.training._reading import SECONDS, SWEEP, check_own, read_options, read_phases
from metaphys.training._results import Group, Run
from metaphys.training._statistics import Method
from metaphys.training.recalibration._config import RecalibrationConfig
from metaphys.training.recalibration._names import FULL, OURS, under

STARTS = ("in silico", "meta start", "population start")
"""Trainings whose loss is shown."""

SUMMARY = {"rates": {EACH: {"chosen": "", **SWEEP}}, "adapting": {EACH: (0.0,)}, "seconds": SECONDS}
"""What of ``summary.json`` is shown."""


def read_recalibration(path: Path) -> Run:
    """A finished run.

    Raises:
        FileNotFoundError: the directory holds no ``metrics.csv``.
        ValueError: a file in it is damaged.
    """
    rows = read_metrics(path / "metrics.csv")
    config, environment = read_options(RecalibrationConfig, path)
    curves, summary = read_phases(path / "curves.json"), read_json(path / "summary.json")
    check_own(under(OURS, config.budgets)[-1], (row["method"] for row in rows), path)
    check_like(summary, SUMMARY, path / "summary.json")
    return Run(path, config.to_json(), environment, rows, curves, summary)


@dataclass(frozen=True)
class Compared:
    """Runs that differ in nothing but the seed, as their report sees them."""

    group: Group

    @property
    def config(self) -> RecalibrationConfig:
        """The configuration that the runs share; of the seeds, the first."""
        return RecalibrationConfig.from_json(dict(self.group.config))

    @property
    def budgets(self) -> tuple[int, ...]:
        """Device calls, ascending."""
        return self.config.budgets

    @property
    def own(self) -> str:
        """Our method under the largest budget."""
        return under(OURS, self.budgets)[-1]

    def times(self) -> dict[tuple[str, int, int], float]:
        """Seconds that a method took to adapt a unit, by method, seed and unit."""
        found: dict[tuple[str, int, int], float] = {}
        for run in self.group.runs:
            taken = {name: iter(values) for name, values in run.summary["adapting"].items()}
            for row in run.rows:  # in whose order they are
                seconds = next(taken.get(row["method"], iter(())), math.nan)
                found[row["method"], row["seed"], row["unit"]] = seconds
        return found

    def starts(self) -> dict[str, list[Mapping[str, Any]]]:
        """The losses of each training of a start, one for each run."""
        return {name: curve for name, curve in self.group.curves().items() if name in STARTS}

    def sweeps(self) -> dict[str, list[Mapping[str, Any]]]:
        """What every rate of fine-tuning gave on validation units, by start and budget."""
        found = [run.summary["rates"] for run in self.group.runs]
        names = dict.fromkeys(name for rates in found for name in rates)
        return {n: _averaged([rates[n]["sweep"] for rates in found if n in rates]) for n in names}


def _averaged(sweeps: Sequence[Sequence[Mapping[str, Any]]]) -> list[Mapping[str, Any]]:
    """The mean accuracy of every rate, which all runs tried in one order."""
    return [
        {**trials[0], "accuracy": math.fsum(t["accuracy"] for t in trials) / len(trials)}
        for trials in zip(*sweeps, strict=True)
    ]


def closed(methods: Mapping[str, Method], own: str, low: str) -> float | None:
    """The part of the way from a start to full training, over the units that have all three.

    Example, on one unit: from 60 % to 90 % of 60 % to 100 % is 0.75.
    """
    if not {own, low, FULL} <= methods.keys():
        return None
    reached = [
        {(seed, unit): value for seed, unit, value in methods[name].values}
        for name in (low, own, FULL)
    ]
    units = set.intersection(*(set(each) for each in reached))
    start, ours, full = (math.fsum(each[unit] for unit in units) for each in reached)
    return (ours - start) / (full - start) if full > start else None
