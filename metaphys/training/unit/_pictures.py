"""The pictures of a trained unit. Every one is a function from numbers to a matplotlib figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, ScalarFormatter

from metaphys._runs._drawing import SETTINGS, WIDTH
from metaphys.training._pictures import smooth
from metaphys.training.unit._results import TrainedRun

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#707070"
METHODS = {
    "in silico": ("#56B4E9", "--"),
    "in silico on the fitted twin": ("#E69F00", "--"),
    "exact gradient": (GREEN, "--"),
    "physics removed": ("#CC79A7", ":"),
    "linear classifier": (GREY, ":"),
}
SHOWN = 4
"""Layers that one sample is followed through: the first ones and the last."""


def learning(run: TrainedRun) -> Figure:
    """Losses of all that was trained, and the accuracy on the unit beside what is compared."""
    with rc_context(SETTINGS):
        figure = Figure(figsize=(WIDTH, 5.2))
        above, below = figure.subplots(2, 1, sharex=True)
        rule = run.config.rule
        for method, curve in run.curves.items():
            colour, line = METHODS.get(method, (BLUE, "-"))
            if method == rule:
                above.plot(curve["step"], curve["loss"], color=BLUE, lw=0.6, alpha=0.35)
            label = rule if method == rule else method
            above.plot(*smooth(curve["step"], curve["loss"]), line, color=colour, label=label)
        above.set(ylabel="loss (cross entropy, nats)")
        above.set_ylim(bottom=0)
        own = run.curves[rule]
        seen = [100 * value for value in own["look_accuracy"]]
        below.plot(own["look_step"], seen, "o-", color=BLUE, ms=4)
        for row in run.rows:
            if row["method"] in METHODS:
                colour, line = METHODS[row["method"]]
                label = row["method"] if row["method"] == "linear classifier" else None
                height = 100 * row["accuracy"]
                below.axhline(height, color=colour, ls=line, lw=1.3, label=label)
        below.xaxis.set_major_locator(MaxNLocator(integer=True))
        below.set(xlabel="training step", ylabel="accuracy (%)", ylim=(0, 102))
        figure.legend(loc="outside lower center", ncols=3)
        return figure


def confusion(table: Sequence[Sequence[int]]) -> Figure:
    """Test samples by class and by what the unit told."""
    with rc_context({**SETTINGS, "axes.grid": False}):
        count = len(table)
        figure = Figure(figsize=(0.8 * WIDTH, 0.75 * WIDTH))
        axes = figure.add_subplot()
        shares = [[value / max(sum(row), 1) for value in row] for row in table]
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for row in range(count):
            for column in range(count):
                if table[row][column]:
                    colour = "white" if shares[row][column] > 0.5 else "black"
                    place = {"ha": "center", "va": "center", "fontsize": 8, "color": colour}
                    axes.text(column, row, str(table[row][column]), **place)
        ticks = range(count)
        axes.set(xticks=ticks, yticks=ticks, xlabel="class that the unit told", ylabel="class")
        return figure


def response(way: Mapping[str, Any]) -> Figure:
    """What the unit of each layer answered, and what its twin did, on the same drive."""
    layers = _shown(way["layers"])
    with rc_context(SETTINGS):
        figure = Figure(figsize=(WIDTH, 1.7 * len(layers) + 0.6))
        panels = figure.subplots(len(layers), 2, squeeze=False, width_ratios=(3, 1.2))
        for (left, right), (index, layer) in zip(panels, layers):
            _waveform(left, layer["device"], BLUE, label="unit")
            _waveform(left, layer["twin"], ORANGE, ls="--", label="twin")
            title = f"layer {index + 1}: the twin is {100 * layer['error']:.3g} % off"
            left.set_title(title, loc="left")
            right.plot(layer["twin"], layer["device"], ".", color=BLUE, ms=3)
            ends = [min(layer["twin"] + layer["device"]), max(layer["twin"] + layer["device"])]
            right.plot(ends, ends, color=GREY, lw=0.8)
            right.set(ylabel="unit")
            for axis in (right.xaxis, right.yaxis):
                _few_ticks(axis)
        panels[-1][0].set_xlabel("number of the reading")
        panels[-1][1].set_xlabel("twin")
        figure.legend(
            *panels[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=2
        )
        return figure


def way_through(way: Mapping[str, Any]) -> Figure:
    """One sample: the drive and the measured readout of each layer, and the logits."""
    layers = _shown(way["layers"])
    with rc_context(SETTINGS):
        figure = Figure(figsize=(WIDTH, 1.5 * (len(layers) + 1) + 0.4))
        grid = figure.add_gridspec(len(layers) + 1, 2)
        for row, (index, layer) in enumerate(layers):
            for column, (name, colour) in enumerate((("drive", GREY), ("device", BLUE))):
                axes = figure.add_subplot(grid[row, column])
                _waveform(axes, layer[name], colour)
                what = "drive" if name == "drive" else "readout"
                axes.set_title(f"layer {index + 1}: {what}", loc="left")
        axes = figure.add_subplot(grid[len(layers), :])
        logits = way["logits"]
        colours = [GREEN if k == way["target"] else "#b0b0b0" for k in range(len(logits))]
        axes.bar(range(len(logits)), logits, color=colours)
        axes.set(xticks=range(len(logits)), xlabel="class")
        axes.set_title("logits; the sample's class is green", loc="left")
        return figure


def _shown(layers: Sequence[Mapping[str, Any]]) -> list[tuple[int, Mapping[str, Any]]]:
    numbered = list(enumerate(layers))
    return numbered if len(numbered) <= SHOWN else [*numbered[: SHOWN - 1], numbered[-1]]


def _waveform(axes: Axes, values: Sequence[float], colour: str, **options: Any) -> None:
    axes.plot(range(len(values)), values, color=colour, lw=1.0, **options)
    _few_ticks(axes.yaxis)


def _few_ticks(axis: Axis) -> None:
    axis.set_major_locator(MaxNLocator(3))
    # Conversion efficiencies are of order 1e-4: labels in full would run into each other.
    formatter = ScalarFormatter()
    formatter.set_powerlimits((-2, 3))
    axis.set_major_formatter(formatter)
