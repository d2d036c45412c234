"""Finished runs, grouped: seeds of one configuration belong together."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metaphys.training._config import Config
from metaphys.training._statistics import Method, methods

ALIKE = ("seed", "threads", "data_root")
"""Options that do not make another experiment."""

CLASSICAL = "twin fitted by Gauss-Newton"
"""The classical rival, trained on that twin."""

FULL = "full training"
"""The bound from above."""

SWEEPS = {
    "fine_tuning": "in silico",
    "sharpness_aware_fine_tuning": "sharpness-aware",
    "population_fine_tuning": "population start",
}
"""Entries of ``summary.json``, and the start that each was tuned for."""

TWIN_STARTS = "fitted_twin_starts"
"""Entry of ``summary.json``: by start, where training on a twin ended on validation units."""


@dataclass(frozen=True)
class Run:
    """What a run directory holds, checked."""

    path: Path
    config: Mapping[str, Any]
    environment: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    curves: Mapping[str, Mapping[str, Sequence[Any]]]
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

    def curves(self) -> dict[str, list[Mapping[str, Sequence[Any]]]]:
        """By phase, the curve of every run that has it."""
        phases = dict.fromkeys(phase for run in self.runs for phase in run.curves)
        return {p: [run.curves[p] for run in self.runs if p in run.curves] for p in phases}

    def epochs(self) -> list[Sequence[float]]:
        """Of each unit that was trained in full, over all runs, the accuracy after each epoch."""
        found = [c for run in self.runs for n, c in run.curves.items() if n.startswith(FULL)]
        return [course for curve in found for course in curve.get("accuracy", ())]

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
