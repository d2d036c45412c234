"""Learning curves and the comparison, with the lines of what can be known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from metaphys._runs._drawing import SETTINGS, WIDTH, store
from metaphys.rl._results import LINES

# Okabe and Ito: told apart with every kind of colour vision; the markers tell them apart in grey.
LOOKS = {
    "maml": ("#707070", "o"),
    "maml-rates": ("#56B4E9", "s"),
    "maml-exact": ("#8C6100", "v"),
    "maml-unweighted": ("#404040", "h"),
    "maml-steps": ("#CC79A7", "D"),
    "mlp": ("#0072B2", "P"),
    "mlp-rounds": ("#000000", "X"),
    "tabular-one-round": ("#E69F00", "^"),
    "tabular-no-dice": ("#A06060", "<"),
    "tabular": ("#D55E00", "*"),
}
DASHES = dict(zip(LINES, (":", (0, (1, 1, 4, 1)), "--", "-"), strict=True))
CURVES = ("maml", "maml-rates", "maml-steps", "mlp", "tabular-one-round", "tabular")
"""Where there are more methods, the curves of these are drawn; the comparison has all."""


def draw_pictures(
    rows: Sequence[Mapping[str, Any]], summary: Mapping[str, Any], directory: Path
) -> None:
    """Write ``learning`` and ``comparison``, as SVG and PNG."""
    with rc_context(SETTINGS):
        figures = {"learning": learning(rows, summary), "comparison": comparison(summary)}
    for name, figure in figures.items():
        store(figure, directory / name)


def learning(rows: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]) -> Figure:
    """The adapted return on fresh tasks during meta-training; below, its upper end enlarged."""
    figure = Figure(figsize=(WIDTH, 6.4))
    panels = figure.subplots(2, 1, sharex=True)
    names = list(summary["methods"])
    if len(names) > len(CURVES):
        names = [name for name in names if name in CURVES]
    for axes, limits in zip(panels, ((9.0, 22.6), (19.0, 22.0))):
        for name in names:
            _curve(axes, name, [row for row in rows if row["method"] == name])
        _lines(axes, summary, axes.axhline)
        axes.set_ylim(*limits)
    panels[1].set_xlabel("outer iteration")
    figure.supylabel("return over 10 steps, adapted, on fresh tasks", fontsize=9)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure


def _curve(axes: Axes, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Each seed thin, their mean strong."""
    colour, marker = LOOKS[name]
    curves: dict[int, dict[int, float]] = {}
    for row in rows:
        curves.setdefault(row["seed"], {})[row["iteration"]] = row["after"]
    for curve in curves.values():
        axes.plot(list(curve), list(curve.values()), color=colour, lw=0.5, alpha=0.35)
    steps = list(next(iter(curves.values())))
    mean = [sum(curve[step] for curve in curves.values()) / len(curves) for step in steps]
    every = max(1, len(steps) // 10)
    axes.plot(steps, mean, color=colour, lw=1.6, label=name, marker=marker, markevery=every)


def _lines(axes: Axes, summary: Mapping[str, Any], draw: Any) -> None:
    for name, kind in DASHES.items():
        value = summary["lines"][name]["mean"]
        draw(value, color="#404040", lw=1, ls=kind, zorder=0, label=f"{name}: {value:.2f}")


def comparison(summary: Mapping[str, Any]) -> Figure:
    """Every method's adapted return on test tasks: seeds as points, mean and interval as text."""
    methods = summary["methods"]
    figure = Figure(figsize=(WIDTH, 0.5 * len(methods) + 1.4))
    axes = figure.add_subplot()
    for row, (name, found) in enumerate(methods.items()):
        after = found["after"]
        colour, marker = LOOKS[name]
        values = after["values"]
        axes.plot(values, [-row] * len(values), marker, ms=5, color=colour, alpha=0.7)
        interval = "" if after["half"] is None else f" ± {after['half']:.2f}"
        texts = (f"{name}: {found['about']}", f"{after['mean']:.2f}{interval}")
        for side, align, text in zip((0.01, 0.99), ("left", "right"), texts):
            axes.text(
                *(side, 0.27 - row, text),
                ha=align,
                va="bottom",
                transform=axes.get_yaxis_transform(),
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
            )
    _lines(axes, summary, axes.axvline)
    axes.set(xlabel="return over 10 steps, adapted, on test tasks", xlim=(9.0, 23.0))
    axes.set(ylim=(0.5 - len(methods), 0.9), yticks=[])
    axes.spines["left"].set_visible(False)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure
