"""The tables of a report: what each method reached and cost, and who is above whom."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metaphys.training._findings import points
from metaphys.training._results import Group
from metaphys.training._statistics import Estimate, Method, difference

COSTS = {"labels": "labels", "device_calls": "device calls"}
"""Entries of a row that tell what a new unit costs, and what they are called."""


def shared(group: Group, own: str) -> dict[str, Any]:
    """What every report tells of runs that differ in their seed alone.

    Args:
        group: the runs.
        own: the method that the others are held against.
    """
    units = {unit for m in group.methods().values() for _, unit, _ in m.values if unit >= 0}
    return {
        "title": group.title,
        "own": own,
        "units": len(units),
        "seeds": group.seeds,
        "system": group.config["system"],
        "options": {name: value for name, value in group.config.items() if name != "seed"},
    }


def method_row(method: Method, *, own: bool) -> dict[str, Any]:
    """A method: accuracy in %, the worst unit, and what a new unit costs."""
    return {
        "name": method.name,
        "accuracy": with_half(method.accuracy),
        "least": points(method.accuracy.least),
        "labels": f"{method.labels:,.0f}",
        "device_calls": f"{method.device_calls:,.0f}",
        "emphasis": own,
    }


def with_half(value: Estimate, *, sign: bool = False) -> str:
    """In %, with half of the interval where there is one.

    Example:
        >>> from metaphys.training._statistics import estimate
        >>> with_half(estimate([(0, 1, 0.5), (0, 2, 0.5)]), sign=True)
        '+50.0 ± 0.0'
    """
    half = "" if value.half is None else f" ± {points(value.half)}"
    return f"{points(value.mean, sign=sign)}{half}"


def difference_rows(
    methods: Mapping[str, Method], own: str, *, quick: bool
) -> list[dict[str, Any]]:
    """One method minus each of the others, paired by seed and unit."""
    if own not in methods:
        return []
    others = [method for method in methods.values() if method.name != own]
    gains = [(other.name, difference(methods[own], other)) for other in others]
    return [
        {
            "rival": name,
            "gain": with_half(gain, sign=True),
            "says": "nothing: a quick run" if quick else says(gain),
        }
        for name, gain in gains
        if gain is not None
    ]


def says(gain: Estimate) -> str:
    """A difference in a word.

    Example:
        >>> from metaphys.training._statistics import estimate
        >>> says(estimate([(0, 1, 0.5), (0, 2, 0.6)])), says(estimate([(0, 1, 0.5)]))
        ('undecided', 'unknown: one unit')
    """
    if gain.half is None:
        return "unknown: one unit"
    if gain.above_zero:
        return "above"
    return "below" if gain.below_zero else "undecided"
