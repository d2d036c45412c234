"""What run directories hold, checked: configurations, rows, curves, summaries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from metaphys._errors import check
from metaphys._runs import read_config, read_metrics
from metaphys._runs._shape import EACH, RESUMED, check_like
from metaphys._runs._stored import read_json
from metaphys.training._config import Config
from metaphys.training._options import Kind
from metaphys.training._results import SWEEPS, TWIN_STARTS, Run

SECONDS = {EACH: 0.0}
"""How the times in a ``summary.json`` are kept, by phase."""

SWEEP = {"sweep": [{"optimizer": "", "loss": "", "lr": 0.0, "accuracy": 0.0}]}
"""How a sweep is."""

COURSE = {"accuracy": [0.0], "seconds": 0.0}
"""How a course is."""


def read_run(path: Path) -> Run:
    """A finished run.

    Raises:
        FileNotFoundError: the directory holds no ``metrics.csv``.
        ValueError: a file in it is damaged.
    """
    rows = read_metrics(path / "metrics.csv")
    config, environment = read_options(Config, path)
    curves, summary = read_phases(path / "curves.json"), read_json(path / "summary.json")
    _check_summary(path / "summary.json", summary, config.adapt_steps)
    return Run(path, config.to_json(), environment, rows, curves, summary)


def read_options(kind: type[Kind], path: Path) -> tuple[Kind, dict[str, Any]]:
    """The configuration of a run and where it ran.

    Raises:
        ValueError: there is none, or one of another command.
    """
    stored = read_config(path)
    try:
        return kind.from_json(stored["config"]), stored.get("environment", {})
    except ValueError as error:
        raise ValueError(f"`config.json` in {path} is of no use: {error}") from error


def check_own(method: str, methods: Iterable[str], path: Path) -> None:
    """Refuse a run that has no row of the method that its report is about.

    Raises:
        ValueError: there is none.
    """
    check(
        method in {*methods},
        "metrics.csv",
        expected=f"with rows of {method!r}",
        got=path / "metrics.csv",
        remedy="Delete the run and start it again.",
    )


def read_curves(path: Path) -> dict[str, Any]:
    """The learning curves of a run by phase: lists ``step`` and ``loss``, and what else there is.

    Raises:
        ValueError: the file holds something else.
    """
    curves = read_json(path)
    check_like(curves, {EACH: {"step": (0,), "loss": (0.0,)}}, path)
    for phase, curve in curves.items():
        check(
            len(curve["step"]) == len(curve["loss"]),
            path.name,
            expected="of lists `step` and `loss`, equally long, for every phase",
            got=f"something else for {phase!r} in {path}",
            remedy=RESUMED,
        )
    return curves


def read_phases(path: Path) -> dict[str, Any]:
    """The same of a run with phases of full training: for each unit, ``accuracy`` by epoch.

    Raises:
        ValueError: the file holds something else.
    """
    curves = read_curves(path)
    full = {phase: curve for phase, curve in curves.items() if "accuracy" in curve}
    check_like(full, {EACH: {"accuracy": [[0.0]]}}, path)
    return curves


def _check_summary(path: Path, summary: Mapping[str, Any], steps: int) -> None:
    like: dict[str, Any] = {"courses": {EACH: COURSE}, "seconds": SECONDS, TWIN_STARTS: {EACH: 0.0}}
    like |= dict.fromkeys(SWEEPS, SWEEP)
    # A run of an older version has fewer.
    check_like(summary, {name: like[name] for name in like if name in summary}, path)
    for name, course in summary.get("courses", {}).items():
        got, length = len(course["accuracy"]), steps + 1
        expected = f"with {length} accuracies at courses.{name}, before and after each step"
        check(got == length, path.name, expected=expected, got=f"{got} in {path}", remedy=RESUMED)
