"""The pictures of a recalibration: accuracy against device calls and against time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from metaphys._runs._drawing import SETTINGS, WIDTH
from metaphys.training._pictures import squeeze, within
from metaphys.training._statistics import Estimate, Method
from metaphys.training._styles import STYLES, style
from metaphys.training.recalibration._names import (
    ANOTHER,
    FULL,
    GAUSS_NEWTON,
    LINEAR,
    OURS,
    START,
    family,
)

LOOKS = {
    OURS: STYLES["meta-learned"],
    START: STYLES["meta-learned start, not adapted"],
    GAUSS_NEWTON: ("#000000", "X"),
    ANOTHER: ("#A06060", "<"),
}
DRAWN = ("#5B3A94", "d")


def look(name: str) -> tuple[str, str]:
    """Colour and marker of a method, whatever its budget."""
    own = family(name)
    if own.startswith(GAUSS_NEWTON) and own not in LOOKS:
        return DRAWN
    return LOOKS.get(own) or style(own)


class Mark(NamedTuple):
    """A method under one budget: where it stands, what it reached, and each unit of it."""

    place: float
    accuracy: Estimate
    units: Sequence[tuple[float, float]]


def calls(methods: Mapping[str, Method]) -> Figure:
    """Accuracy against device calls; budgets of a method are joined."""
    shown = {n: m for n, m in methods.items() if m.uses_units and family(n) != FULL}
    families = list(dict.fromkeys(map(family, shown)))

    free = [family(name) for name, method in shown.items() if not method.device_calls]

    def mark(method: Method) -> Mark:
        # What costs the same stands side by side, in one order everywhere.
        order, step = (families, 0.012) if method.device_calls else (free, 0.025)
        shift = step * (order.index(family(method.name)) - (len(order) - 1) / 2)
        place = squeeze(method.device_calls) + shift
        return Mark(place, method.accuracy, [(place, value) for _, _, value in method.values])

    numbers = sorted({method.device_calls for method in shown.values()})
    with rc_context(SETTINGS):
        figure, axes = _drawn(shown, mark)
        _level(axes, methods, FULL, LINEAR)
        axes.xaxis.set_major_locator(FixedLocator([squeeze(number) for number in numbers]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda at, _: _nearest(numbers, at)))
        axes.set_xlabel("device calls for one new unit")
        return _finished(figure, axes)


def _nearest(numbers: Sequence[float], place: float) -> str:
    return f"{min(numbers, key=lambda number: abs(squeeze(number) - place)):,.0f}"


def time(methods: Mapping[str, Method], taken: Mapping[tuple[str, int, int], float]) -> Figure:
    """Accuracy against the seconds that one unit took; methods that take none are left out."""

    def seconds(method: Method) -> list[float]:
        return [taken.get((method.name, seed, unit), math.nan) for seed, unit, _ in method.values]

    def mark(method: Method) -> Mark:
        places = seconds(method)
        mean = math.fsum(places) / len(places)
        units = [(at, value) for at, (_, _, value) in zip(places, method.values, strict=True)]
        return Mark(mean, method.accuracy, units)

    shown = {n: m for n, m in methods.items() if all(each > 0 for each in seconds(m))}
    with rc_context(SETTINGS):
        figure, axes = _drawn(shown, mark)
        _level(axes, methods, LINEAR)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda at, _: f"{at:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("time that adapting one unit took (s)")
        return _finished(figure, axes)


def _drawn(methods: Mapping[str, Method], mark: Callable[[Method], Mark]) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, 5.0))
    axes = figure.add_subplot()
    families: dict[str, list[Mark]] = {}
    for name, method in methods.items():
        families.setdefault(family(name), []).append(mark(method))
    for name, marks in families.items():
        colour, marker = look(name)
        for each in marks:
            across, up = zip(*each.units, strict=True)
            axes.plot(across, [100 * v for v in up], ".", color=colour, ms=3, alpha=0.35)
        axes.errorbar(
            [each.place for each in marks],
            [100 * each.accuracy.mean for each in marks],
            yerr=[100 * (each.accuracy.half or 0.0) for each in marks],
            fmt=f"{marker}-",
            color=colour,
            ms=6,
            lw=1.2,
            capsize=2.5,
            label=name,
            zorder=4 if name == OURS else 3,
        )
    return figure, axes


def _level(axes: Axes, methods: Mapping[str, Method], *names: str) -> None:
    """What has no place on the axis, across all of it."""
    for name in names:
        if name in methods:
            mean, line = 100 * methods[name].accuracy.mean, "--" if name == LINEAR else "-."
            axes.axhline(mean, color=look(name)[0], lw=1.2, ls=line, label=name, zorder=2)


def _finished(figure: Figure, axes: Axes) -> Figure:
    axes.set_ylabel("accuracy on the test set (%)")
    axes.margins(x=0.06, y=0.06)
    axes.set_ylim(within(axes.get_ylim()))
    figure.legend(loc="outside lower center", ncols=2)
    return figure
