"""What the numbers of one trained unit say, in sentences, and what they do not."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from metaphys.training._findings import QUICK, points
from metaphys.training.unit._results import TrainedRun

Z = 1.959963984540054
"""The 97.5 % point of the normal distribution."""


def wilson(fraction: float, count: int) -> tuple[float, float]:
    """The 95 % interval of a fraction of ``count`` samples, by Wilson (1927).

    It says how well the accuracy on this unit is known, and nothing about other units and seeds.

    Example:
        >>> [round(x, 3) for x in wilson(0.5, 100)], wilson(0.0, 10)[0]
        ([0.404, 0.596], 0.0)
    """
    middle = fraction + Z**2 / (2 * count)
    spread = Z * math.sqrt(fraction * (1 - fraction) / count + Z**2 / (4 * count**2))
    scale = 1 + Z**2 / count
    # At 0 and 1 the two terms cancel but for rounding.
    return max(0.0, round((middle - spread) / scale, 12)), min(1.0, (middle + spread) / scale)


def interval(row: Mapping[str, Any], judged: int) -> str:
    """An accuracy with its interval, in %."""
    low, high = wilson(row["accuracy"], judged)
    return f"{points(row['accuracy'])} ({points(low)} to {points(high)})"


def sentences(run: TrainedRun) -> list[str]:
    """The findings of a run, the most important first."""
    config, summary, own = run.config, run.summary, run.own
    if config.short:
        return [QUICK]
    found = [
        f"{config.rule} reached {interval(own, summary['judged'])} % of {summary['judged']} test "
        f"samples on unit {config.unit}, with {own['device_calls']:,} device calls.",
        *_about_twins(summary.get("twin")),
        *(_beside(run, name) for name in _BESIDE if _row(run, name)),
    ]
    wire, linear = _row(run, "physics removed"), _row(run, "linear classifier")
    if wire and linear:
        found.append(
            f"The same network with the physics removed reached {points(wire['accuracy'])} %, a "
            f"linear classifier on the same inputs {points(linear['accuracy'])} %."
        )
    found += _about_clamping(summary.get("excess"), config.penalty)
    return [*found, "One unit and one seed: nothing is said about others."]


def _row(run: TrainedRun, method: str) -> Mapping[str, Any] | None:
    return next((row for row in run.rows if row["method"] == method), None)


_BESIDE = {
    "in silico": "The network trained on the nominal model alone, moved to the unit,",
    "in silico on the fitted twin": "Trained on the fitted twin alone and moved to the unit it",
    "exact gradient": "Training by the exact gradient of the simulated unit",
}


def _about_twins(fitted: Mapping[str, Any] | None) -> list[str]:
    if fitted is None:
        return []
    errors = fitted["before"], fitted["after"]
    before, after = (f"{points(min(each))} to {points(max(each))} %" for each in errors)
    return [
        f"The twins were fitted to readouts of the unit first: {before} off on fresh drives "
        f"before, {after} after, noise included. These {fitted['calls']:,} calls are among those "
        "above."
    ]


def _about_clamping(excess: Sequence[float] | None, penalty: float) -> list[str]:
    if not excess or not max(excess):
        return []
    cost = f"costs {penalty:g} times its square in the loss" if penalty else "costs nothing"
    least, most = (f"{100 * value:.2g}" for value in (min(excess), max(excess)))
    return [
        f"Before they are clamped, drives leave the range of the hardware by {least} to {most} % "
        f"of it (root mean square, by layer), which {cost} (--penalty)."
    ]


def _beside(run: TrainedRun, method: str) -> str:
    row = _row(run, method)
    assert row is not None
    gap = points(run.own["accuracy"] - row["accuracy"], sign=True)
    return (
        f"{_BESIDE[method]} reached {points(row['accuracy'])} % ({run.config.rule}: {gap} points)."
    )
