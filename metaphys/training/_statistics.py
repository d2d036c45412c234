"""Means and 95 % intervals over units and over seeds, and paired differences of methods."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from metaphys._errors import check
from metaphys._runs import half_interval

Row = Mapping[str, Any]
"""A row of ``metrics.csv``."""

Sample = tuple[int, int, float]
"""A seed, a unit, and the value that they gave."""


@dataclass(frozen=True)
class Estimate:
    """A mean and how well it is known, as fractions."""

    mean: float
    """Over all units and seeds."""

    half: float | None
    """Half of the 95 % interval: the wider of the two below. None where there is only one value."""

    over_units: float | None
    """Half of the interval by Student's t over units, each averaged over the seeds."""

    over_seeds: float | None
    """The same over seeds, each averaged over the units; None with a single seed."""

    units: int
    """How many units."""

    seeds: int
    """How many seeds."""

    least: float
    """The smallest value."""

    @property
    def above_zero(self) -> bool:
        """Whether the whole interval is above zero."""
        return self.half is not None and self.mean - self.half > 0

    @property
    def below_zero(self) -> bool:
        """Whether the whole interval is below zero."""
        return self.half is not None and self.mean + self.half < 0


@dataclass(frozen=True)
class Method:
    """What one method reached and what it cost on a new unit."""

    name: str
    accuracy: Estimate
    labels: float
    device_calls: float
    values: tuple[Sample, ...]

    @property
    def uses_units(self) -> bool:
        """False for a method that never sees a unit, such as a linear classifier."""
        return any(unit >= 0 for _, unit, _ in self.values)


def estimate(samples: Sequence[Sample]) -> Estimate:
    """The mean of samples, each of a seed and a unit.

    Units and seeds both vary, so each gives an interval; ``half`` is the wider one.
    """
    units = _group_means((unit, value) for _, unit, value in samples)
    seeds = _group_means((seed, value) for seed, _, value in samples)
    values = [value for _, _, value in samples]
    over_units, over_seeds = half_interval(units), half_interval(seeds)
    return Estimate(
        mean=math.fsum(values) / len(values),
        half=max((h for h in (over_units, over_seeds) if h is not None), default=None),
        over_units=over_units,
        over_seeds=over_seeds,
        units=len(units),
        seeds=len(seeds),
        least=min(values),
    )


def _group_means(pairs: Iterable[tuple[int, float]]) -> list[float]:
    groups: dict[int, list[float]] = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    return [math.fsum(values) / len(values) for values in groups.values()]


def methods(rows: Sequence[Row]) -> dict[str, Method]:
    """Every method of some rows, in their order.

    Raises:
        ValueError: an accuracy is no fraction, or a method has two rows for a seed and a unit.
    """
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["method"], []).append(row)
    return {name: _method(name, mine) for name, mine in found.items()}


def _method(name: str, rows: list[Row]) -> Method:
    for row in rows:
        check(
            0 <= row["accuracy"] <= 1,
            "metrics.csv",
            expected="of accuracies from 0 to 1",
            got=f"{row['accuracy']} for {name!r}, seed {row['seed']}, unit {row['unit']}",
        )
    values = tuple((row["seed"], row["unit"], row["accuracy"]) for row in rows)
    places = [sample[:2] for sample in values]
    twice = next((place for place in places if places.count(place) > 1), None)
    check(
        twice is None,
        "metrics.csv",
        expected="of one row for each method, seed and unit",
        got=f"two for {name!r}, (seed, unit) {twice}",
        remedy="Compare runs of different seeds.",
    )
    return Method(
        name,
        estimate(values),
        labels=math.fsum(row["labels"] for row in rows) / len(rows),
        device_calls=math.fsum(row["device_calls"] for row in rows) / len(rows),
        values=values,
    )


def difference(one: Method, other: Method) -> Estimate | None:
    """``one`` minus ``other``, paired by seed and unit; None where they share none.

    A method that sees no unit is compared with by seed.
    """
    there = {(seed, unit): value for seed, unit, value in other.values}
    if not other.uses_units:
        by_seed = {seed: value for seed, _, value in other.values}
        there = {place[:2]: by_seed[place[0]] for place in one.values if place[0] in by_seed}
    samples = [
        (seed, unit, value - there[seed, unit])
        for seed, unit, value in one.values
        if (seed, unit) in there
    ]
    return estimate(samples) if samples else None
