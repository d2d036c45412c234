"""Finished runs of ``metaphys drift``, read back and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metaphys._runs import read_metrics
from metaphys._runs._shape import EACH, check_like
from metaphys._runs._stored import read_json
from metaphys.training._reading import check_own, read_options
from metaphys.training.drifting._config import DriftConfig
from metaphys.training.drifting._courses import ROW, Course, chosen, courses

SUMMARY = {
    "walk": {"true": {EACH: 0.0}, "learned": {EACH: 0.0}},
    "trials": [{"lr": 0.0, "steps": 1, "accuracy": 0.0}],
}
"""What of ``summary.json`` is shown."""

OWN = "filter"


@dataclass(frozen=True)
class DriftRun:
    """What a run directory of ``metaphys drift`` holds."""

    path: Path
    config: DriftConfig
    environment: Mapping[str, Any]
    courses: Sequence[Course]
    summary: Mapping[str, Any]

    @property
    def own(self) -> Course:
        """The course under the filter."""
        return next(course for course in self.courses if course.method == OWN)

    @property
    def tuned(self) -> Mapping[str, Any]:
        """The kind of fine-tuning that was chosen."""
        return chosen(self.summary["trials"])


def read_drift(path: Path) -> DriftRun:
    """A finished run.

    Raises:
        FileNotFoundError: the directory holds no ``metrics.csv``.
        ValueError: a file in it is damaged.
    """
    rows = read_metrics(path / "metrics.csv", ROW)
    config, environment = read_options(DriftConfig, path)
    found, summary = courses(rows), read_json(path / "summary.json")
    check_own(OWN, (course.method for course in found), path)
    check_like(summary, SUMMARY, path / "summary.json")
    return DriftRun(path, config, environment, found, summary)
