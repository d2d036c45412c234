"""The report of a run, or of several compared: one HTML file with its pictures inside."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metaphys._runs._page import drawn, write_sections
from metaphys.training._findings import META, headline
from metaphys.training._reading import read_run
from metaphys.training._results import FULL, SWEEPS, TWIN_STARTS, Group, Run, groups
from metaphys.training._statistics import Method
from metaphys.training._tables import COSTS, difference_rows, method_row, shared

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EPOCHS = (
    "Full training: accuracy on validation samples after each epoch, measured on the unit; a line "
    "is a unit, its dot the epoch whose controls were taken."
)
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
    "epochs": EPOCHS,
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
    found = groups([read_run(Path(run)) for run in runs])
    sections = [(group.runs[0].path, group) for group in found]
    return write_sections(TEMPLATE, sections, _section, output)


def _section(group: Group, folder: Path, prefix: str) -> dict[str, Any]:
    """All that the template shows of one group of runs."""
    methods, quick = group.methods(), group.quick
    return {
        **shared(group, META),
        "quick": quick,
        "data": group.config["data"],
        "findings": headline(methods, quick=quick, sweeps=group.sweeps(), courses=group.epochs()),
        "methods": [method_row(m, own=m.name == META) for m in methods.values()],
        "costs": COSTS,
        "differences": difference_rows(methods, META, quick=quick),
        "pictures": _draw(group, methods, folder, prefix),
        "runs": [(run, _more(run)) for run in group.runs],
    }


def _more(run: Run) -> dict[str, Any]:
    """What else is told of how a run was made."""
    more = {
        f"fine-tuning chosen, from {start}": run.summary[entry].get("chosen", "–")
        for entry, start in SWEEPS.items()
        if entry in run.summary
    }
    if tried := run.summary.get(TWIN_STARTS):
        best = max(tried, key=tried.__getitem__)
        listed = ", ".join(f"{name} {100 * value:.1f} %" for name, value in tried.items())
        more["start of the fitted twin, chosen"] = f"{best} (validation units: {listed})"
    if "device_calls_total" in run.summary:
        more["device calls in all"] = f"{run.summary['device_calls_total']:,}"
    return more


def _draw(
    group: Group, methods: Mapping[str, Method], folder: Path, prefix: str
) -> list[tuple[str, str]]:
    """Every picture that there are numbers for."""
    from metaphys.training import _epoch_picture, _pictures

    curves, sweeps, courses = group.curves(), group.sweeps(), group.courses()
    epochs = group.epochs()
    figures: dict[str, Callable[[], Figure]] = {
        "accuracy": lambda: _pictures.accuracy(methods),
        "cost": lambda: _pictures.cost(methods),
    }
    if courses:
        figures["course"] = lambda: _pictures.course(courses)
    if curves:
        figures["learning"] = lambda: _pictures.learning(curves)
    if epochs:
        figures["epochs"] = lambda: _epoch_picture.epochs(epochs, FULL)
    if sweeps:
        figures["sweep"] = lambda: _pictures.sweep(sweeps)
    return drawn(PICTURES, figures, folder, prefix)
