"""Finished runs of ``metaphys rl``, read back and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metaphys._errors import check
from metaphys._runs import read_config, read_metrics
from metaphys._runs._stored import read_json
from metaphys.rl._config import Config

CURVES = ("method", "seed", "iteration", "before", "after")
"""The columns of ``metrics.csv``: a learning curve on fresh tasks."""


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
    there = all(isinstance(summary.get(name), dict) for name in ("lines", "methods"))
    check(there, "summary.json", expected="with objects 'lines' and 'methods'", got=path)
    try:
        config = Config(**{**options, "methods": tuple(options.get("methods", ()))})
    except TypeError as error:  # an unknown option, or one of another kind
        raise ValueError(f"`config.json` in {path} is of no use: {error}") from error
    return RLRun(
        path, options, config == config.quick(), stored.get("environment", {}), rows, summary
    )
