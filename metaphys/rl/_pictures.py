"""Learning curves and the comparison, with the lines of what can be known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe and Ito: told apart with every kind of colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#404040", "#8C6100")
MARKERS = "osDP^v*h"
LINES = ("random", "one large step, tuned", "planner", "optimal")
LEARNING = ("maml", "maml-rates", "maml-steps", "mlp", "tabular")
"""At most these are drawn as curves; all are in the comparison."""

SETTINGS: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#606060",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "svg.hashsalt": "metaphys",  # The same numbers give the same file.
    "figure.constrained_layout.use": True,
}


def draw_pictures(
    rows: Sequence[Mapping[str, Any]], summary: Mapping[str, Any], directory: Path
) -> None:
    """Write ``learning`` and ``comparison``, as SVG and PNG."""
    directory.mkdir(parents=True, exist_ok=True)
    with rc_context(SETTINGS):
        for name, figure in (
            ("learning", learning(rows, summary)),
            ("comparison", comparison(summary)),
        ):
            figure.savefig(directory / f"{name}.svg", metadata={"Date": None})
            figure.savefig(directory / f"{name}.png", dpi=150)


def learning(rows: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]) -> Figure:
    """The adapted return on fresh tasks while meta-training goes on: seeds thin, mean strong."""
    figure = Figure(figsize=(6.0, 4.2))
    axes = figure.add_subplot()
    names = list(summary["methods"])
    if len(names) > len(LEARNING):
        names = [name for name in names if name in LEARNING]
    for name, colour, marker in zip(names, COLOURS, MARKERS):
        curves: dict[int, list[tuple[int, float]]] = {}
        for row in rows:
            if row["method"] == name:
                curves.setdefault(row["seed"], []).append((row["iteration"], row["after"]))
        for curve in curves.values():
            axes.plot(*zip(*curve), color=colour, lw=0.5, alpha=0.35)
        steps = [step for step, _ in next(iter(curves.values()))]
        values = [[value for _, value in curve] for curve in curves.values()]
        mean = [sum(column) / len(column) for column in zip(*values)]
        look = {"marker": marker, "ms": 4, "markevery": max(1, len(steps) // 10)}
        axes.plot(steps, mean, color=colour, lw=1.6, label=name, **look)
    _draw_lines(axes, summary, axes.axhline, (1.0, 0.0))
    axes.set(xlabel="outer iteration", ylabel="return over 10 steps, adapted, on fresh tasks")
    axes.set_ylim(9.2, 22.6)
    figure.legend(loc="outside lower center", ncols=5)
    return figure


def _draw_lines(axes: Axes, summary: Mapping[str, Any], draw: Any, place: Any) -> None:
    for name in LINES:
        value = summary["lines"][name]["mean"]
        draw(value, color="#808080", lw=0.9, ls=(0, (4, 3)), zorder=0)
        axes.annotate(
            f"{name} {value:.2f}",
            (place[0], value),
            xycoords=axes.get_yaxis_transform(),
            xytext=(-2, -2 if name == "one large step, tuned" else 2),
            textcoords="offset points",
            ha="right",
            va="top" if name == "one large step, tuned" else "bottom",
            fontsize=7.5,
            color="#505050",
        )


def comparison(summary: Mapping[str, Any]) -> Figure:
    """Every method's adapted return on test tasks, a point for each seed, above its interval."""
    methods = summary["methods"]
    figure = Figure(figsize=(6.0, 0.42 * len(methods) + 1.3))
    axes = figure.add_subplot()
    for row, found in enumerate(methods.values()):
        after = found["after"]
        axes.plot(after["values"], [-row] * len(after["values"]), "o", ms=4, color=COLOURS[0])
        interval = "" if after["half"] is None else f" ± {after['half']:.2f}"
        right = after["mean"] < 16
        axes.annotate(
            f"{after['mean']:.2f}{interval}",
            ((max if right else min)(after["values"]), -row),
            xytext=(7 if right else -7, 0),
            textcoords="offset points",
            ha="left" if right else "right",
            va="center",
        )
    for name in LINES:
        value = summary["lines"][name]["mean"]
        axes.axvline(value, color="#808080", lw=0.9, ls=(0, (4, 3)), zorder=0)
    labels = [f"{name}: {found['about']}" for name, found in methods.items()]
    axes.set_yticks([-row for row in range(len(methods))], labels)
    axes.set(xlabel="return over 10 steps, adapted, on test tasks", xlim=(9.4, 22.4))
    axes.set_ylim(0.6 - len(methods), 0.9)
    top = axes.secondary_xaxis("top")
    ticks = {name: summary["lines"][name]["mean"] for name in LINES}
    top.set_xticks(list(ticks.values()), list(ticks), rotation=25, ha="left", fontsize=7.5)
    return figure
