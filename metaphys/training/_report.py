"""The report of a run, or of several compared: one HTML file with its pictures inside."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metaphys._errors import check
from metaphys._runs._page import page_path, render, stored
from metaphys._saving import write_atomically
from metaphys.training._findings import META, headline
from metaphys.training._results import SWEEPS, Group, groups, read_run
from metaphys.training._statistics import Method
from metaphys.training._tables import difference_rows, method_row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PICTURES = {
    "accuracy": "Test accuracy of each method. A mark is one held-out unit; the upright bar is the "
    "mean, the line across it the 95 % interval. The dashed line is the linear classifier.",
    "cost": "Mean test accuracy against the device calls that one new unit costs, with the 95 % "
    "interval. The axis is logarithmic above about ten calls; methods of equal cost stand beside "
    "each other.",
    "course": "Mean accuracy on some hundred test samples after each step on a new unit: against "
    "steps, and against the time that they take, a unit's share of what is done for all at once.",
    "learning": "Loss of every training phase: single steps thin, their running mean strong. "
    "The axis of the loss is logarithmic.",
    "sweep": "How plain fine-tuning was tuned: mean accuracy on validation units for every rate "
    "tried. The ringed one was used.",
}
"""Name and caption of each picture."""


TEMPLATE = Path(__file__).with_name("report.html")


def write_report(runs: Sequence[str | Path], output: str | Path | None = None) -> Path:
    """Write the report of finished runs.

    Runs that differ in their seed alone are pooled; others are shown one after the other.

    Args:
        runs: run directories.
        output: the file to write, or a directory for ``report.html``; the first run's by default.

    Returns:
        The file. Its pictures also lie in ``pictures/`` beside it.

    Raises:
        FileNotFoundError: a directory holds no results.
        ValueError: results are damaged, or there are two runs of one seed.
    """
    check(len(runs) > 0, "run_dir", expected="at least one directory", got="none")
    results = [read_run(Path(run)) for run in runs]
    page = page_path(Path(output) if output is not None else results[0].path)
    sections = [_section(group, page.parent) for group in groups(results)]
    write_atomically(page, _render(sections).encode())
    return page


def _render(sections: Sequence[Mapping[str, Any]]) -> str:
    return render(
        TEMPLATE,
        sections=sections,
        names=dict.fromkeys(row["name"] for each in sections for row in each["methods"]),
        own=META,
        sweeps=SWEEPS,
    )


def _section(group: Group, folder: Path) -> dict[str, Any]:
    """All that the template shows of one group of runs."""
    methods = group.methods()
    drawn = _draw(group, methods, folder / "pictures")
    return {
        "title": group.title,
        "slug": group.slug,
        "quick": group.quick,
        "headline": headline(methods, quick=group.quick, sweeps=group.sweeps()),
        "units": len({unit for m in methods.values() for _, unit, _ in m.values if unit >= 0}),
        "seeds": group.seeds,
        "methods": [method_row(m, own=m.name == META) for m in methods.values()],
        "differences": difference_rows(methods, META, quick=group.quick),
        "pictures": [(name, PICTURES[name], uri) for name, uri in drawn.items()],
        "config": group.config,
        "runs": group.runs,
    }


def _draw(group: Group, methods: Mapping[str, Method], folder: Path) -> dict[str, str]:
    """Draw every picture that there are numbers for, store it, and return it as a data URI."""
    from metaphys.training import _pictures

    curves, sweeps, courses = group.curves(), group.sweeps(), group.courses()
    figures: dict[str, Callable[[], Figure]] = {
        "accuracy": lambda: _pictures.accuracy(methods),
        "cost": lambda: _pictures.cost(methods),
    }
    if courses:
        figures["course"] = lambda: _pictures.course(courses)
    if curves:
        figures["learning"] = lambda: _pictures.learning(curves)
    if sweeps:
        figures["sweep"] = lambda: _pictures.sweep(sweeps)
    prefix = f"{group.slug}-" if group.slug else ""
    return {name: stored(draw(), folder / f"{prefix}{name}") for name, draw in figures.items()}
