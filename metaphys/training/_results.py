"""Finished runs, read back and grouped: seeds of one configuration belong together."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metaphys._errors import check
from metaphys._runs import read_config, read_metrics
from metaphys._runs._shape import EACH, RESUMED, check_like
from metaphys._runs._stored import read_json
from metaphys.training._config import Config
from metaphys.training._options import Options, from_plain
from metaphys.training._statistics import Method, methods

ALIKE = ("seed", "threads", "data_root")
"""Options that do not make another experiment."""

CLASSICAL = "twin fitted by Gauss-Newton"
"""The classical rival, trained on that twin."""

SWEEPS = {
    "fine_tuning": "in silico",
    "sharpness_aware_fine_tuning": "sharpness-aware",
    "population_fine_tuning": "population start",
}
"""Entries of ``summary.json``, and the start that each was tuned for."""

SECONDS = {EACH: 0.0}
"""How the times in a ``summary.json`` are kept, by phase."""

SWEEP = {"sweep": [{"optimizer": "", "loss": "", "lr": 0.0, "accuracy": 0.0}]}
"""How a sweep is."""

COURSE = {"accuracy": [0.0], "seconds": 0.0}
"""How a course is."""


@dataclass(frozen=True)
class Run:
    """What a run directory holds, checked."""

    path: Path
    config: Mapping[str, Any]
    environment: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    curves: Mapping[str, Mapping[str, Sequence[float]]]
    summary: Mapping[str, Any]


@dataclass(frozen=True)
class Group:
    """Runs that differ in nothing but the seed.

    Attributes:
        title: what sets it apart from the other groups; empty if there are none.
        runs: at least one.
    """

    title: str
    runs: Sequence[Run]

    @property
    def config(self) -> Mapping[str, Any]:
        """The configuration that the runs share; of the seeds, the first."""
        return self.runs[0].config

    @property
    def seeds(self) -> list[int]:
        """The seeds of all rows."""
        return sorted({row["seed"] for run in self.runs for row in run.rows})

    @property
    def quick(self) -> bool:
        """Whether the steps were too few for any figure to mean anything."""
        config = Config.from_json(dict(self.config))
        return config.quick() == config

    def methods(self) -> dict[str, Method]:
        """Every method over all runs."""
        return methods([row for run in self.runs for row in run.rows])

    def curves(self) -> dict[str, list[Mapping[str, Sequence[float]]]]:
        """By phase, the curve of every run that has it."""
        phases = dict.fromkeys(phase for run in self.runs for phase in run.curves)
        return {p: [run.curves[p] for run in self.runs if p in run.curves] for p in phases}

    def sweeps(self) -> dict[str, list[Mapping[str, Any]]]:
        """By start, what every rate of fine-tuning gave, averaged over the runs."""
        found = {
            start: [run.summary[entry]["sweep"] for run in self.runs if entry in run.summary]
            for entry, start in SWEEPS.items()
        }
        return {start: _averaged(trials) for start, trials in found.items() if trials}

    def courses(self) -> dict[str, tuple[list[float], float]]:
        """By method, the mean accuracy after each step and the seconds of all steps, over runs."""
        found: dict[str, list[Mapping[str, Any]]] = {}
        for run in self.runs:
            for name, course in run.summary.get("courses", {}).items():
                found.setdefault(name, []).append(course)
        return {name: _course(each) for name, each in found.items()}


def _course(runs: Sequence[Mapping[str, Any]]) -> tuple[list[float], float]:
    steps = zip(*(run["accuracy"] for run in runs), strict=True)
    mean = [sum(each) / len(runs) for each in steps]
    return mean, sum(run["seconds"] for run in runs) / len(runs)


def _averaged(sweeps: Sequence[Sequence[Mapping[str, Any]]]) -> list[Mapping[str, Any]]:
    values: dict[tuple[Any, ...], list[float]] = {}
    for trial in (trial for trials in sweeps for trial in trials):
        key = (trial["optimizer"], trial["loss"], trial["lr"])
        values.setdefault(key, []).append(trial["accuracy"])
    return [
        {"optimizer": key[0], "loss": key[1], "lr": key[2], "accuracy": sum(of) / len(of)}
        for key, of in values.items()
    ]


def read_run(path: Path) -> Run:
    """A finished run.

    Raises:
        FileNotFoundError: the directory holds no ``metrics.csv``.
        ValueError: a file in it is damaged.
    """
    rows = read_metrics(path / "metrics.csv")
    config, environment = read_options(Config, path)
    curves, summary = read_curves(path / "curves.json"), read_json(path / "summary.json")
    _check_summary(path / "summary.json", summary, config.adapt_steps)
    return Run(path, config.to_json(), environment, rows, curves, summary)


def read_options(kind: type[Options], path: Path) -> tuple[Options, dict[str, Any]]:
    """The configuration of a run and where it ran.

    Raises:
        ValueError: there is none, or one of another command.
    """
    stored = read_config(path)
    try:
        return from_plain(kind, stored["config"]), stored.get("environment", {})
    except ValueError as error:
        raise ValueError(f"`config.json` in {path} is of no use: {error}") from error


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


def _check_summary(path: Path, summary: Mapping[str, Any], steps: int) -> None:
    like = {"courses": {EACH: COURSE}, "seconds": SECONDS, **dict.fromkeys(SWEEPS, SWEEP)}
    # A run of an older version has fewer.
    check_like(summary, {name: like[name] for name in like if name in summary}, path)
    for name, course in summary.get("courses", {}).items():
        got, length = len(course["accuracy"]), steps + 1
        expected = f"with {length} accuracies at courses.{name}, before and after each step"
        check(got == length, path.name, expected=expected, got=f"{got} in {path}", remedy=RESUMED)


def groups(runs: Sequence[Run]) -> list[Group]:
    """Runs sorted by configuration, in the order in which they came."""
    alike: dict[str, list[Run]] = {}
    for run in runs:
        essence = {name: value for name, value in run.config.items() if name not in ALIKE}
        alike.setdefault(json.dumps(essence, sort_keys=True), []).append(run)
    if len(alike) == 1:
        return [Group("", runs)]
    configs = [json.loads(key) for key in alike]
    names = sorted({name for config in configs for name in config})
    differing = [
        name for name in names if len({json.dumps(config.get(name)) for config in configs}) > 1
    ]
    return [
        Group(", ".join(f"{name} = {config.get(name)}" for name in differing), found)
        for config, found in zip(configs, alike.values())
    ]
