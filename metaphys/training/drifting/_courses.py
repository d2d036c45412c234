"""Accuracy over time: what a method kept of the first day's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from metaphys._errors import check
from metaphys._runs import METRICS, half_interval
from metaphys.training.drifting._config import DriftConfig

ROW = (*METRICS[:3], "interval", *METRICS[3:])
"""The columns of ``metrics.csv``: labels and device calls are those of the interval."""


@dataclass(frozen=True)
class Course:
    """What some units told over time under one method.

    Attributes:
        method: its name.
        units: their seeds.
        accuracy: of every unit, on the first day and after every interval.

    Example:
        >>> course = Course("none", (7, 8), [[1.0, 0.9, 0.7], [0.5, 0.5, 0.4]])
        >>> round(course.fresh, 3), [round(value, 3) for value in course.kept]
        (0.75, [0.8, 0.9])
        >>> round(course.worst_interval, 3)        # the last: 0.55 of 0.75
        0.733
    """

    method: str
    units: tuple[int, ...]
    accuracy: Sequence[Sequence[float]]

    @property
    def mean(self) -> list[float]:
        """Of all units, by interval, the first day first."""
        return [_mean(day) for day in zip(*self.accuracy, strict=True)]

    @property
    def fresh(self) -> float:
        """Of all units, on the first day."""
        return self.mean[0]

    @property
    def kept(self) -> list[float]:
        """Of every unit: its mean over the intervals, in its accuracy on the first day."""
        return [_mean(later) / first if first else 0.0 for first, *later in self.accuracy]

    @property
    def half(self) -> float | None:
        """Half of the 95 % interval of the mean of :attr:`kept` over units; None for one unit."""
        return half_interval(self.kept)

    @property
    def worst_interval(self) -> float:
        """The least mean of an interval, in that of the first day."""
        return min(self.mean[1:]) / self.fresh if self.fresh else 0.0

    def summary(self) -> dict[str, Any]:
        """All of it, rounded, for a table."""
        kept = self.kept
        half = self.half
        return {
            "units": len(self.units),
            "fresh": round(self.fresh, 6),
            "kept": round(_mean(kept), 6),
            "half": None if half is None else round(half, 6),
            "worst interval": round(self.worst_interval, 6),
            "worst unit": round(min(kept), 6),
            "last interval": round(self.mean[-1], 6),
        }


def chosen(trials: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The best kind of fine-tuning of those that were tried on training units."""
    return max(trials, key=lambda trial: trial["accuracy"])


def cost(method: str, config: DriftConfig, steps: int) -> tuple[int, int]:
    """Labels and device calls of an interval.

    Args:
        method: its name.
        config: of the run.
        steps: of fine-tuning, which are of equal size: what is over is not spent.

    Example:
        >>> config = DriftConfig(layers=3, calls=50)
        >>> cost("filter", config, 5), cost("fine-tuning", config, 5)
        ((0, 48), (15, 45))
    """
    if method == "no adaptation":
        return 0, 0
    if method == "fine-tuning":
        spent = config.drives // steps * steps
        return spent, spent * config.layers
    return 0, config.drives * config.layers


def rows(courses: Sequence[Course], config: DriftConfig, steps: int) -> list[dict[str, Any]]:
    """The rows of ``metrics.csv``; ``steps`` are those of fine-tuning."""
    found = []
    for course in courses:
        labels, calls = cost(course.method, config, steps)
        for unit, values in zip(course.units, course.accuracy, strict=True):
            for interval, value in enumerate(values):
                spent = calls if interval else config.first_drives * config.layers
                found.append({
                    "method": course.method, "seed": config.seed, "unit": unit,
                    "interval": interval, "labels": labels if interval else 0,
                    "device_calls": spent, "accuracy": round(value, 6),
                })  # fmt: skip
    return found


def courses(found: Sequence[Mapping[str, Any]]) -> list[Course]:
    """The inverse of :func:`rows`.

    Raises:
        ValueError: an interval of a unit is missing.
    """
    methods: dict[str, dict[int, list[float]]] = {}
    for row in sorted(found, key=lambda row: row["interval"]):
        methods.setdefault(row["method"], {}).setdefault(row["unit"], []).append(row["accuracy"])
    intervals = {row["interval"] for row in found}
    whole = all(len(of) == len(intervals) for units in methods.values() for of in units.values())
    check(
        whole and len(intervals) > 1,
        "metrics.csv",
        expected="of one row for every method, unit and interval",
        got="fewer or more",
        remedy="Delete the run and start it again.",
    )
    # In the order of the rows, which sorting by interval keeps.
    return [Course(name, tuple(units), list(units.values())) for name, units in methods.items()]


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
