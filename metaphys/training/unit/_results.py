"""Finished runs of ``metaphys train``, read back and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metaphys._errors import check
from metaphys._runs import read_metrics
from metaphys._runs._shape import RESUMED, Maybe, check_like
from metaphys._runs._stored import read_json
from metaphys.training._reading import SECONDS, check_own, read_curves, read_options
from metaphys.training.unit._config import TrainConfig

LAYER = {"drive": [0.0], "device": [0.0], "twin": [0.0], "error": 0.0}
SUMMARY: dict[str, Any] = {
    "confusion": [[0]],
    "way": {"layers": [LAYER], "logits": [0.0], "target": 0, "sample": 0},
    "physical_parameters": 0,
    "digital_parameters": 0,
    "judged": 1,
    "looked_at": "",
}
"""What of ``summary.json`` is shown in any case."""

LATER = {
    "seconds": SECONDS,
    "excess": (0.0,),
    "twin": Maybe({"calls": 0, "before": [0.0], "after": [0.0]}),
}
"""And what runs of older versions do not have."""

LOOKS = {"look_step": (1,), "look_accuracy": (0.0,)}
"""What the curve of the rule itself has beside its losses."""


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
    check_own(config.rule, (row["method"] for row in rows), path)
    curves, summary = read_curves(path / "curves.json"), read_json(path / "summary.json")
    _check(path, config.rule, curves, summary)
    return TrainedRun(path, config, environment, rows, curves, summary)


def _check(path: Path, rule: str, curves: Mapping[str, Any], summary: Mapping[str, Any]) -> None:
    """Refuse figures that cannot be shown."""
    check_like(curves, {rule: LOOKS}, path / "curves.json")
    there = {name: like for name, like in LATER.items() if name in summary}
    check_like(summary, SUMMARY | there, path / "summary.json")
    pairs = [(len(row), len(summary["confusion"])) for row in summary["confusion"]]
    pairs += [(len(of["device"]), len(of["twin"])) for of in summary["way"]["layers"]]
    looks = [len(curves[rule][name]) for name in LOOKS]
    for name, fits in {
        "summary.json": all(one == other for one, other in pairs),
        "curves.json": len(set(looks)) == 1,
    }.items():
        got = path / name
        check(fits, name, expected="of lists equally long", got=f"others in {got}", remedy=RESUMED)
