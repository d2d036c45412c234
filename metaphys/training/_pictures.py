"""The pictures of a report. Every one is a function from numbers to a matplotlib figure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullLocator,
)

from metaphys._runs._drawing import SETTINGS, WIDTH
from metaphys.training._findings import percent
from metaphys.training._statistics import Method
from metaphys.training._styles import STYLES, style

Trial = Mapping[str, Any]
"""One rate of a sweep: ``optimizer``, ``loss``, ``lr``, ``accuracy``."""

Look = Callable[[str], tuple[str, str]]
"""From a method's name to its colour and marker."""

Curves = Mapping[str, Sequence[Mapping[str, Sequence[float]]]]
"""By phase, one curve for each seed: ``step`` and ``loss``."""


def accuracy(methods: Mapping[str, Method], look: Look = style) -> Figure:
    """Every unit a point; above them the mean and its interval."""
    with rc_context(SETTINGS):
        figure = Figure(figsize=(WIDTH, 0.62 * len(methods) + 0.7))
        axes = figure.add_subplot()
        for row, method in enumerate(methods.values()):
            _accuracy_row(axes, -row, method, look(method.name))
        for method in methods.values():
            if not method.uses_units:
                axes.axvline(100 * method.accuracy.mean, color="#707070", lw=1, ls=(0, (4, 3)))
        axes.set(xlabel="accuracy on the test set (%)", ylim=(0.55 - len(methods), 0.7))
        axes.yaxis.set_major_locator(NullLocator())
        axes.spines["left"].set_visible(False)
        axes.margins(x=0.04)
        axes.set_xlim(within(axes.get_xlim()))
        return figure


def _accuracy_row(axes: Axes, height: float, method: Method, look: tuple[str, str]) -> None:
    colour, marker = look
    order = sorted({(unit, seed) for seed, unit, _ in method.values})
    for seed, unit, value in method.values:
        # Spread by unit, so that equal points do not hide each other.
        place = (order.index((unit, seed)) + 0.5) / len(order) - 0.5
        axes.plot(100 * value, height + 0.18 * place, marker, color=colour, ms=5, alpha=0.6, mew=1)
    mean, half = 100 * method.accuracy.mean, method.accuracy.half
    if half is not None:
        axes.plot([mean - 100 * half, mean + 100 * half], [height] * 2, color="black", lw=1.5)
    axes.plot([mean] * 2, [height - 0.14, height + 0.14], color="black", lw=1.8)
    for side, align, text in ((0, "left", method.name), (1, "right", percent(method.accuracy))):
        axes.text(
            side,
            height + 0.2,
            text,
            ha=align,
            va="bottom",
            transform=axes.get_yaxis_transform(),
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )


def within(limits: tuple[float, float]) -> tuple[float, float]:
    """Limits of an axis of percentages: the interval of two units may reach beyond 0 and 100."""
    return max(-2, limits[0]), min(102, limits[1])


def cost(methods: Mapping[str, Method]) -> Figure:
    """Accuracy against what adapting one unit costs."""
    with rc_context(SETTINGS):
        figure = Figure(figsize=(WIDTH, 4.6))
        axes = figure.add_subplot()
        shown = [method for method in methods.values() if method.uses_units]
        places = apart([method.device_calls for method in shown])
        for place, method in zip(places, shown):
            colour, marker = style(method.name)
            axes.errorbar(
                place,
                100 * method.accuracy.mean,
                yerr=None if method.accuracy.half is None else 100 * method.accuracy.half,
                fmt=marker,
                color=colour,
                ms=8,
                capsize=3,
                label=method.name,
            )
        calls = sorted({method.device_calls for method in shown})
        axes.xaxis.set_major_locator(FixedLocator([squeeze(number) for number in calls]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda at, _: f"{stretch(at):,.0f}"))
        axes.set(xlabel="device calls for one new unit", ylabel="accuracy on the test set (%)")
        axes.margins(x=0.08, y=0.08)
        axes.set_ylim(within(axes.get_ylim()))
        figure.legend(loc="outside lower center", ncols=2)
        return figure


def squeeze(calls: float) -> float:
    """A place on an axis of device calls: logarithmic above about ten, with a zero."""
    return math.log10(1 + calls / 10)


def stretch(place: float) -> float:
    """The inverse of :func:`squeeze`."""
    return 10 * (10**place - 1)


def apart(calls: Sequence[float]) -> list[float]:
    """Places on the axis, those of equal cost a little beside each other."""
    places, width = [], 0.035 * max(1.0, squeeze(max(calls, default=0)))
    for index, number in enumerate(calls):
        earlier, all_of_them = calls[:index].count(number), calls.count(number)
        places.append(squeeze(number) + width * (earlier - (all_of_them - 1) / 2))
    return places


def course(courses: Mapping[str, tuple[Sequence[float], float]]) -> Figure:
    """Accuracy against the steps on a new unit, and against their time."""
    with rc_context(SETTINGS):
        figure = Figure(figsize=(WIDTH, 3.6))
        left, right = figure.subplots(1, 2, sharey=True)
        for name, (reached, seconds) in courses.items():
            colour, marker = style(name)
            shown = [100 * value for value in reached]
            steps = range(len(shown))
            look = {"marker": marker, "color": colour, "ms": 5, "lw": 1.3}
            left.plot(steps, shown, label=name, **look)
            right.plot([1000 * seconds * t / (len(shown) - 1) for t in steps], shown, **look)
        left.set(xlabel="steps on the unit", ylabel="accuracy on the test set (%)")
        left.xaxis.set_major_locator(MaxNLocator(integer=True))
        right.set_xlabel("time for one unit (ms)")
        figure.legend(loc="outside lower center", ncols=2)
        return figure


def learning(curves: Curves) -> Figure:
    """The outer loss of every phase: each seed thin, its running mean strong."""
    with rc_context(SETTINGS):
        columns = 2 if len(curves) > 1 else 1
        rows = math.ceil(len(curves) / columns)
        figure = Figure(figsize=(WIDTH, 2.0 * rows + 0.3))
        panels = list(figure.subplots(rows, columns, squeeze=False).flat)
        for axes, (phase, of_seeds) in zip(panels, curves.items()):
            for curve in of_seeds:
                axes.plot(curve["step"], curve["loss"], color="#0072B2", lw=0.6, alpha=0.35)
                axes.plot(*smooth(curve["step"], curve["loss"]), color="#0072B2", lw=1.5)
            axes.set_title(phase, loc="left")
            # The first steps would hide whether the last ones still fall.
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.yaxis.set_minor_locator(NullLocator())
        for axes in panels[len(curves) :]:
            axes.set_visible(False)
        figure.supxlabel("outer step", fontsize=9)
        figure.supylabel("loss (cross entropy, nats)", fontsize=9)
        return figure


def smooth(steps: Sequence[float], losses: Sequence[float]) -> tuple[list[float], list[float]]:
    """The mean over a window of a twentieth of the curve, placed at the window's middle."""
    window = max(1, len(losses) // 20)
    starts = range(0, len(losses) - window + 1)
    middle = [steps[start + window // 2] for start in starts]
    return middle, [math.fsum(losses[start : start + window]) / window for start in starts]


def sweep(sweeps: Mapping[str, Sequence[Trial]]) -> Figure:
    """What each rate of plain fine-tuning gave, from every start; the best is ringed."""
    with rc_context(SETTINGS):
        figure = Figure(figsize=(WIDTH, 2.3 * len(sweeps) + 0.9))
        panels = figure.subplots(len(sweeps), 1, squeeze=False, sharex=True)[:, 0]
        for axes, (start, trials) in zip(panels, sweeps.items()):
            _sweep_panel(axes, trials)
            axes.set_title(f"from {start}", loc="left")
        panels[-1].set_xlabel("learning rate")
        figure.supylabel("accuracy on validation units (%)", fontsize=9)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2)
        return figure


def _sweep_panel(axes: Axes, trials: Sequence[Trial]) -> None:
    looks = [look for name, look in STYLES.items() if name != "linear classifier"]
    kinds = list(dict.fromkeys((trial["optimizer"], trial["loss"]) for trial in trials))
    for index, kind in enumerate(kinds):
        mine = [trial for trial in trials if (trial["optimizer"], trial["loss"]) == kind]
        points = sorted((trial["lr"], 100 * trial["accuracy"]) for trial in mine)
        colour, marker = looks[index % len(looks)]
        axes.plot(*zip(*points), marker=marker, ms=5, color=colour, label=", ".join(kind))
    best = max(trials, key=lambda trial: trial["accuracy"])
    place = ([best["lr"]], [100 * best["accuracy"]])
    axes.plot(*place, "o", ms=13, mfc="none", mec="black", ls="none", label="best of all")
    axes.set_xscale("log")
    axes.margins(y=0.12)
