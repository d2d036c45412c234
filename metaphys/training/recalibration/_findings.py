"""What the numbers of a recalibration say, the classical rival first, and what they do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from metaphys.training._findings import QUICK, linear, not_flat, percent, untuned, verdict
from metaphys.training._statistics import Method, difference
from metaphys.training.recalibration._names import (
    FULL,
    GAUSS_NEWTON,
    IN_SILICO,
    OURS,
    POPULATION,
    family,
    fine_tuning,
    under,
)
from metaphys.training.recalibration._results import closed


def headline(
    methods: Mapping[str, Method],
    budgets: Sequence[int],
    *,
    quick: bool,
    sweeps: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    courses: Sequence[Sequence[float]] = (),
) -> list[str]:
    """The findings of a run, the most important first.

    Args:
        methods: by name.
        budgets: device calls, ascending.
        quick: whether the run was so short that no comparison means anything.
        sweeps: what every rate of fine-tuning gave, to doubt the rivals' tuning.
        courses: of each unit that was trained in full, the accuracy after each epoch.
    """
    own = under(OURS, budgets)[-1]
    if own not in methods:
        return [QUICK] if quick else []
    if quick:
        return [QUICK, _reached(methods, own)]
    labelled = fine_tuning(POPULATION), fine_tuning(IN_SILICO)
    return [
        _reached(methods, own),
        *_against(methods, budgets[::-1], classical(methods)),
        *_against(methods, budgets[-1:], labelled),
        *_gap(methods, own),
        *linear(methods, own),
        *untuned(sweeps or {}),
        *not_flat(courses),
    ]


def classical(methods: Mapping[str, Method]) -> list[str]:
    """The variants of the classical rival that were judged."""
    families = dict.fromkeys(map(family, methods))
    return [name for name in families if name.startswith(GAUSS_NEWTON)]


def _reached(methods: Mapping[str, Method], own: str) -> str:
    mine, others = methods[own], ""
    for name in methods:
        if family(name) in classical(methods) and name.endswith(own.removeprefix(OURS)):
            others += (
                f"; {family(name)}, then training on its twin, {percent(methods[name].accuracy)}"
            )
    return (
        f"Recalibrated from {mine.device_calls:,.0f} device calls, without labels, a unit never "
        f"seen before reaches {percent(mine.accuracy)}{others}."
    )


def _against(
    methods: Mapping[str, Method], budgets: Sequence[int], rivals: Sequence[str]
) -> list[str]:
    found = []
    for budget in budgets:
        (own,) = under(OURS, [budget])
        for rival in rivals:
            (name,) = under(rival, [budget])
            if own in methods and name in methods:
                words = "the classical rival, " * rival.startswith(GAUSS_NEWTON)
                gain = difference(methods[own], methods[name])
                found.append(verdict(f"{words}{name}", gain, f"Recalibration with {budget} calls"))
    return found


def _gap(methods: Mapping[str, Method], own: str) -> list[str]:
    part = closed(methods, own, POPULATION)
    if part is None:
        return []
    units = methods[FULL].accuracy.units
    return [
        f"It goes {100 * part:.0f} % of the way from the population start to full training on the "
        f"unit ({percent(methods[FULL].accuracy)}, {units} unit{'s' if units != 1 else ''})."
    ]
