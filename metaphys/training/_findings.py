"""What the numbers say, in sentences, and what they do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from metaphys.training._flat import is_flat
from metaphys.training._statistics import Estimate, Method, difference

META, LINEAR = "meta-learned", "linear classifier"
RIVALS = {
    "population start": "the start trained over the population",
    "population start + fine-tuning": "the population start with tuned fine-tuning",
    "twin fitted by Gauss-Newton": "training on a twin that Gauss-Newton fitted to random drives",
    "sharpness-aware + fine-tuning": "tuned fine-tuning of a sharpness-aware start",
    "in silico + fine-tuning": "tuned fine-tuning of in-silico weights",
}
"""Whom meta-learning is measured against, the honest rival first."""

QUICK = (
    "This was a quick run: it shows that all of it works. "
    "With so few steps and units its figures mean nothing."
)


def headline(
    methods: Mapping[str, Method],
    *,
    quick: bool,
    sweeps: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    courses: Sequence[Sequence[float]] = (),
) -> list[str]:
    """The findings of a run, the most important first.

    Args:
        methods: by name.
        quick: whether the run was so short that no comparison means anything.
        sweeps: by start, what every rate of fine-tuning gave, to doubt the rivals' tuning.
        courses: of each unit that was trained in full, the accuracy after each epoch.
    """
    if META not in methods:
        return [QUICK] if quick else []
    reached = _reached(methods)
    if quick:
        return [QUICK, reached]
    rivals = [
        verdict(phrase, difference(methods[META], methods[name]))
        for name, phrase in RIVALS.items()
        if name in methods
    ]
    doubts = (*untuned(sweeps or {}), *not_flat(courses))
    return [reached, *rivals, *linear(methods, META), *doubts]


def untuned(sweeps: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """A doubt for every sweep whose best rate is the smallest or largest of its kind."""
    doubts = []
    for start, trials in sweeps.items():
        best = max(trials, key=lambda trial: trial["accuracy"])
        kind = best["optimizer"], best["loss"]
        rates = [t["lr"] for t in trials if (t["optimizer"], t["loss"]) == kind]
        if best["lr"] in (min(rates), max(rates)):
            doubts.append(
                f"The best rate of fine-tuning from {start}, {best['lr']:g}, is at the edge of "
                "those tried: fine-tuning may be better than it looks here."
            )
    return doubts


def not_flat(courses: Sequence[Sequence[float]]) -> list[str]:
    """A doubt where full training of some units ended at its limit; by each epoch's accuracy.

    Example:
        >>> print(*not_flat([[0.5] * 6, [0.5, 0.6, 0.7]]))
        Full training of 1 of 2 units ended before it was flat: more epochs may raise its bound.
        >>> not_flat([[0.5] * 6])
        []
    """
    left = sum(not is_flat(course) for course in courses)
    text = f"Full training of {left} of {len(courses)} units ended before it was flat: "
    return [f"{text}more epochs may raise its bound."] if left else []


def _reached(methods: Mapping[str, Method]) -> str:
    mine = methods[META]
    text = (
        f"Adapted with {mine.labels:,.0f} labels and {mine.device_calls:,.0f} device calls, "
        f"a unit never seen before reaches {percent(mine.accuracy)}"
    )
    others = [
        f"{phrase} reaches {percent(methods[name].accuracy)}"
        for name, phrase in RIVALS.items()
        if name in methods
    ]
    return f"{text}; {', '.join(others)}." if others else f"{text}."


def linear(methods: Mapping[str, Method], own: str) -> list[str]:
    """Whether a method is above the linear classifier, where there is one."""
    if LINEAR not in methods:
        return []
    reached = methods[LINEAR].accuracy
    above = methods[own].accuracy.mean > reached.mean
    return [
        f"A linear classifier on the same inputs, without any physics, reaches "
        f"{100 * reached.mean:.1f} %: {'less' if above else 'not less'} than the adapted unit."
    ]


def verdict(rival: str, gain: Estimate | None, own: str = "Meta-learning") -> str:
    """Whether a method is above a rival.

    Example:
        >>> from metaphys.training._statistics import estimate
        >>> print(verdict("B", estimate([(0, 1, 0.10), (0, 2, 0.12)])))
        Meta-learning is NOT shown to be above B: the difference is +11.0 ± 12.7 points
        (95 % interval, paired over 2 units), and this interval includes 0.
    """
    if gain is None:
        return f"{own} and {rival} share no unit, so they cannot be compared."
    if gain.half is None:
        return (
            f"{own} and {rival} were compared on a single unit "
            f"({points(gain.mean, sign=True)} points): this shows nothing about others."
        )
    size = f"{points(abs(gain.mean))} ± {points(gain.half)} points ({_basis(gain)})"
    if gain.above_zero:
        return f"{own} is above {rival} by {size}."
    if gain.below_zero:
        return f"{own} is NOT above {rival}: it is below by {size}."
    return (
        f"{own} is NOT shown to be above {rival}: the difference is "
        f"{points(gain.mean, sign=True)} ± {points(gain.half)} points ({_basis(gain)}), "
        "and this interval includes 0."
    )


def _basis(gain: Estimate) -> str:
    seeds = f" and {gain.seeds} seeds" if gain.seeds > 1 else ""
    return f"95 % interval, paired over {gain.units} units{seeds}"


def points(value: float, *, sign: bool = False) -> str:
    """A difference of fractions in percentage points, with a real minus sign.

    Example:
        >>> points(-0.012), points(0.012, sign=True)
        ('−1.2', '+1.2')
    """
    return f"{100 * value:{'+' if sign else ''}.1f}".replace("-", "−")


def percent(value: Estimate) -> str:
    """A fraction and its interval in per cent.

    Example:
        >>> from metaphys.training._statistics import estimate
        >>> percent(estimate([(0, 1, 0.5)]))
        '50.0 %'
    """
    half = "" if value.half is None else f" ± {100 * value.half:.1f}"
    return f"{100 * value.mean:.1f}{half} %"
