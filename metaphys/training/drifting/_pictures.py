"""The picture of units that drift: accuracy over time."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from metaphys._runs._drawing import SETTINGS, WIDTH
from metaphys.training.drifting._courses import Course

STYLES = {
    "filter": ("#0072B2", "-"),
    "ridge refit": ("#E69F00", "--"),
    "fine-tuning": ("#D55E00", "-."),
    "no adaptation": ("#707070", ":"),
}
"""Colour (Okabe and Ito) and line of each method."""


def over_time(courses: Sequence[Course]) -> Figure:
    """One panel: the mean of each method, and of the filter every unit."""
    with rc_context(SETTINGS):
        figure = Figure(figsize=(WIDTH, 3.6))
        panel(figure.add_subplot(), courses)
        figure.legend(loc="outside lower center", ncols=4)
        return figure


def panel(axes: Axes, courses: Sequence[Course]) -> None:
    """The mean of each method by interval; of the filter, thin, every unit."""
    for course in courses:
        colour, line = STYLES.get(course.method, ("#404040", "-"))
        days = range(len(course.mean))
        if course.method == "filter":
            for unit in course.accuracy:
                axes.plot(days, [100 * a for a in unit], color=colour, lw=0.5, alpha=0.35)
        mean = [100 * a for a in course.mean]
        axes.plot(days, mean, line, color=colour, lw=1.7, label=course.method)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="interval", ylabel="test accuracy (%)", ylim=(0, 102))
