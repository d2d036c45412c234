"""The report of units that drift, or of several such runs: one HTML file with its pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from metaphys._runs._page import drawn, write_sections
from metaphys.training._findings import QUICK, points
from metaphys.training.drifting._courses import Course, cost
from metaphys.training.drifting._results import OWN, DriftRun, read_drift

NOTES = {
    "filter": "a Kalman filter of the mismatch from random drives, then training on its twin",
    "no adaptation": "what training on the first day's twin gave",
    "fine-tuning": "physics-aware training with labels, the first day's twin backwards",
    "ridge refit": "the same drives and training; every day is fitted from the first day's twin",
}
PICTURES = {
    "over-time": "Test accuracy after every interval, the first day at 0: the mean over units; "
    "thin, every unit under the filter."
}
"""Name and caption of each picture."""


TEMPLATE = Path(__file__).with_name("report.html")


def write_report(runs: Sequence[str | Path], output: str | Path | None = None) -> Path:
    """Write the report of finished runs, one after the other.

    Args:
        runs: run directories of ``metaphys drift``.
        output: the file to write, or a directory for ``report.html``; the first run's by default.

    Returns:
        The file. Its pictures also lie in ``pictures/`` beside it.

    Raises:
        FileNotFoundError: a directory holds no results.
        ValueError: results are damaged.
    """
    results = [read_drift(Path(run)) for run in runs]
    return write_sections(TEMPLATE, [(run.path, run) for run in results], _section, output)


def _section(run: DriftRun, folder: Path, prefix: str) -> dict[str, Any]:
    """All that the template shows of a run."""
    from metaphys.training.drifting import _pictures

    config = run.config
    figures = {"over-time": lambda: _pictures.over_time(run.courses)}
    return {
        "title": f"{config.layers} layers of {config.system}, {config.data}",
        "quick": config.short,
        "config": config,
        "units": len(run.own.units),
        "findings": sentences(run),
        "methods": [_method(course, run) for course in run.courses],
        "pictures": drawn(PICTURES, figures, folder, prefix),
        "options": config.to_json(),
        "run": run,
    }


def _method(course: Course, run: DriftRun) -> dict[str, Any]:
    of, (labels, calls) = course.summary(), cost(course.method, run.config, run.tuned["steps"])
    half = "" if of["half"] is None else f" ± {points(of['half'])}"
    return {
        "name": course.method,
        "note": NOTES.get(course.method, ""),
        "labels": f"{labels:,}",
        "calls": f"{calls:,}",
        "kept": f"{points(of['kept'])}{half}",
        "own": course.method == OWN,
        **{n: points(of[n]) for n in ("fresh", "worst interval", "worst unit", "last interval")},
    }


def sentences(run: DriftRun) -> list[str]:
    """The findings of a run, the most important first."""
    if run.config.short:
        return [QUICK]
    own, config = run.own.summary(), run.config
    others = {course.method: course.summary()["kept"] for course in run.courses}
    del others[OWN]
    beside = "; ".join(f"{name} {points(kept)} %" for name, kept in others.items())
    units, calls = "unit" if own["units"] == 1 else "units", cost(OWN, config, 1)[1]
    return [
        f"Over {config.intervals} intervals of drift the filter kept {points(own['kept'])} % of "
        f"the accuracy of the first day ({points(own['fresh'])} %), mean of {own['units']} "
        f"{units}, with {calls:,} device calls and no label in an interval.",
        f"Beside it: {beside}.",
        f"Its worst interval, over all units, kept {points(own['worst interval'])} %, its worst "
        f"unit, over all intervals, {points(own['worst unit'])} %.",
    ]
