"""Finished runs of ``metaphys rl``, read back and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metaphys._errors import check
from metaphys._runs import read_config, read_metrics
from metaphys._runs._shape import EACH, RESUMED, Maybe, check_like
from metaphys._runs._stored import read_json
from metaphys.rl._config import Config

CURVES = ("method", "seed", "iteration", "before", "after")
"""The columns of ``metrics.csv``: a learning curve on fresh tasks."""

LINES = ("random", "one large step, tuned", "planner", "optimal")
"""What can be known of tasks, and is drawn as a line."""

ESTIMATE = {"mean": 0.0, "half": Maybe(0.0), "values": [0.0]}
METHOD = {
    "about": "",
    **dict.fromkeys(("untrained", "before", "during", "after", "seconds"), ESTIMATE),
}


@dataclass(frozen=True)
class RLRun:
    """What a run directory of ``metaphys rl`` holds.

    Attributes:
        path: the directory.
        config: its options.
        quick: whether there is too little of it for any figure to mean anything.
        environment: where it ran.
        rows: learning curves.
        summary: returns on test tasks, by method, and those that can be known.
    """

    path: Path
    config: Mapping[str, Any]
    quick: bool
    environment: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    summary: Mapping[str, Any]

    @property
    def seeds(self) -> int:
        """How many seeds it has."""
        return len(self.summary["lines"]["optimal"]["values"])


def read_rl(path: Path) -> RLRun:
    """A finished run.

    Raises:
        FileNotFoundError: the directory holds no ``metrics.csv``.
        ValueError: a file in it is damaged.
    """
    rows, stored = read_metrics(path / "metrics.csv", CURVES), read_config(path)
    summary, options = read_json(path / "summary.json"), stored["config"]
    try:
        config = Config(**options)
    except TypeError as error:  # an unknown option, or one of another kind
        raise ValueError(f"`config.json` in {path} is of no use: {error}") from error
    _check(path, config, rows, summary)
    environment, quick = stored.get("environment", {}), config == config.quick()
    return RLRun(path, config.to_json(), quick, environment, rows, summary)


def _check(
    path: Path, config: Config, rows: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]
) -> None:
    """Refuse figures that cannot be shown."""
    methods = dict.fromkeys(config.names, METHOD)
    lines = {EACH: ESTIMATE, **dict.fromkeys(LINES, ESTIMATE)}
    check_like(summary, {"lines": lines, "methods": methods}, path / "summary.json")
    points = {name: {(r["seed"], r["iteration"]) for r in rows if r["method"] == name}
              for name in config.names}  # fmt: skip
    whole = len(rows) == len(config.names) * len(next(iter(points.values())))
    check(
        whole and len({frozenset(of) for of in points.values()}) == 1,
        "metrics.csv",
        expected="of one row for every method, seed and point of the curve",
        got=f"fewer or more in {path / 'metrics.csv'}",
        remedy=RESUMED,
    )
