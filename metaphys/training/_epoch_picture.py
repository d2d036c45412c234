"""The picture of full training: accuracy over epochs, until it is flat."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from metaphys._runs._drawing import SETTINGS, WIDTH
from metaphys.training._styles import style


def epochs(courses: Sequence[Sequence[float]], name: str) -> Figure:
    """Accuracy on validation samples after each epoch, a line a unit; a dot is what was taken.

    Args:
        courses: of each unit, one accuracy or more.
        name: of the method, whose colour it is.
    """
    with rc_context(SETTINGS):
        figure = Figure(figsize=(WIDTH, 2.8))
        axes = figure.add_subplot()
        colour, _ = style(name)
        for course in courses:
            shown = [100 * value for value in course]
            taken = len(shown) - 1 - shown[::-1].index(max(shown))
            axes.plot(range(1, len(shown) + 1), shown, color=colour, lw=1, alpha=0.6)
            axes.plot(taken + 1, shown[taken], "o", color=colour, ms=5)
        axes.set(xlabel="epoch", ylabel="accuracy on validation samples (%)")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        return figure
