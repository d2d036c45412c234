"""Finished runs of ``metaphys train``, read back and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metaphys._errors import check
from metaphys._runs import read_metrics
from metaphys._runs._stored import read_json
from metaphys.training._results import read_curves, read_options
from metaphys.training.unit._config import TrainConfig

NEEDED = ("confusion", "way", "physical_parameters", "digital_parameters", "judged", "looked_at")


@dataclass(frozen=True)
class TrainedRun:
    """What a run directory of ``metaphys train`` holds."""

    path: Path
    config: TrainConfig
    environment: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    curves: Mapping[str, Mapping[str, Sequence[float]]]
    summary: Mapping[str, Any]

    @property
    def own(self) -> Mapping[str, Any]:
        """The row of the rule itself."""
        return next(row for row in self.rows if row["method"] == self.config.rule)


def read_trained(path: Path) -> TrainedRun:
    """A finished run.

    Raises:
        FileNotFoundError: the directory holds no ``metrics.csv``.
        ValueError: a file in it is damaged.
    """
    rows = read_metrics(path / "metrics.csv")
    config, environment = read_options(TrainConfig, path)
    check(
        config.rule in [row["method"] for row in rows],
        "metrics.csv",
        expected=f"with a row of {config.rule}",
        got=path / "metrics.csv",
        remedy="Delete the run and train again.",
    )
    curves, summary = read_curves(path / "curves.json"), read_json(path / "summary.json")
    missing = [name for name in NEEDED if name not in summary]
    check(not missing, "summary.json", expected=f"with {NEEDED}", got=f"{path} without {missing}")
    return TrainedRun(path, config, environment, rows, curves, summary)
