"""The report of units never seen before: one HTML file with its pictures, seeds pooled."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metaphys._runs._page import drawn, write_sections
from metaphys.training._report import EPOCHS
from metaphys.training._results import FULL, Group, Run, groups
from metaphys.training._statistics import Method
from metaphys.training._tables import COSTS, difference_rows, method_row, shared
from metaphys.training.recalibration._findings import headline
from metaphys.training.recalibration._names import family
from metaphys.training.recalibration._notes import note
from metaphys.training.recalibration._results import Compared, read_recalibration

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PICTURES = {
    "calls": "Mean test accuracy against the device calls that one new unit costs, with the 95 % "
    "interval; a method's budgets are joined, dots are units. The axis is logarithmic above about "
    "ten calls; methods of equal cost stand beside each other.",
    "units": "Test accuracy on every unit, under the largest budget. A mark is one held-out unit; "
    "the upright bar is the mean, the line across it the 95 % interval. The dashed line is the "
    "linear classifier.",
    "time": "Mean test accuracy against the time that adapting one unit took on this machine: "
    "measuring the simulated unit, fitting, training. Dots are units. Methods that do nothing on a "
    "unit are left out.",
    "learning": "Loss of training each start: single steps thin, their running mean strong. "
    "The axis of the loss is logarithmic.",
    "epochs": EPOCHS,
    "sweep": "How fine-tuning was tuned under the largest budget: mean accuracy on validation "
    "units for every rate tried. The ringed one was used.",
}
"""Name and caption of each picture."""


TEMPLATE = Path(__file__).with_name("report.html")


def write_report(runs: Sequence[str | Path], output: str | Path | None = None) -> Path:
    """Write the report of finished runs.

    Runs that differ in their seed alone are pooled; others are shown one after the other.

    Args:
        runs: run directories of ``metaphys recalibrate``.
        output: the file to write, or a directory for ``report.html``; the first run's by default.

    Returns:
        The file. Its pictures also lie in ``pictures/`` beside it.

    Raises:
        FileNotFoundError: a directory holds no results.
        ValueError: results are damaged, or there are two runs of one seed.
    """
    found = groups([read_recalibration(Path(run)) for run in runs])
    sections = [(group.runs[0].path, group) for group in found]
    return write_sections(TEMPLATE, sections, _section, output)


def _section(group: Group, folder: Path, prefix: str) -> dict[str, Any]:
    """All that the template shows of one group of runs."""
    methods, compared = group.methods(), Compared(group)
    times, config = compared.times(), compared.config
    told: Any = {"sweeps": compared.sweeps(), "courses": group.epochs()}
    return {
        **shared(group, compared.own),
        "quick": config.short,
        "data": config.dataset,
        "findings": headline(methods, compared.budgets, quick=config.short, **told),
        "methods": [_row(method, compared.own, times) for method in methods.values()],
        "costs": {**COSTS, "seconds": "s"},
        "differences": difference_rows(methods, compared.own, quick=config.short),
        "notes": [(name, note(name)) for name in dict.fromkeys(map(family, methods))],
        "pictures": _draw(compared, methods, folder, prefix),
        "runs": [(run, _more(run)) for run in group.runs],
    }


def _more(run: Run) -> dict[str, Any]:
    """What else is told of how a run was made."""
    chosen = run.summary["rates"].items()
    return {f"fine-tuning chosen, from {name}": rate["chosen"] for name, rate in chosen}


def _row(method: Method, own: str, times: Mapping[tuple[str, int, int], float]) -> dict[str, Any]:
    taken = [times[method.name, seed, unit] for seed, unit, _ in method.values]
    mean = math.fsum(taken) / len(taken)
    return {**method_row(method, own=method.name == own), "seconds": f"{mean:.2g}" if mean else "–"}


def _draw(
    compared: Compared, methods: Mapping[str, Method], folder: Path, prefix: str
) -> list[tuple[str, str]]:
    """Every picture that there are numbers for."""
    from metaphys.training import _epoch_picture
    from metaphys.training import _pictures as shared
    from metaphys.training.recalibration import _pictures

    last = f", {compared.budgets[-1]} calls"
    chosen = {
        family(name): dataclasses.replace(method, name=family(name))
        for name, method in methods.items()
        if name.endswith(last) or family(name) == name
    }
    curves, epochs = compared.starts(), compared.group.epochs()
    under = f" under {compared.budgets[-1]} calls"
    sweeps = {
        name.removesuffix(under): trials
        for name, trials in compared.sweeps().items()
        if name.endswith(under)
    }
    figures: dict[str, Callable[[], Figure]] = {
        "calls": lambda: _pictures.calls(methods),
        "units": lambda: shared.accuracy(chosen, _pictures.look),
        "time": lambda: _pictures.time(methods, compared.times()),
    }
    if curves:
        figures["learning"] = lambda: shared.learning(curves)
    if epochs:
        figures["epochs"] = lambda: _epoch_picture.epochs(epochs, FULL)
    if sweeps:
        figures["sweep"] = lambda: shared.sweep(sweeps)
    return drawn(PICTURES, figures, folder, prefix)
