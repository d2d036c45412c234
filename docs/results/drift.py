"""Units that drift, kept at work by a few calls in every interval: ``drift.json``.

Run as ``python docs/results/drift.py VOWELS`` with the folder of ``vowdata.dat``: the experiment of
``metaphys drift``, with the networks of ``_drift_settings.py``. A stopped script goes on where it
was; a system whose run directory is finished is read. ``drift_page.py`` makes the page of it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from _book import Book
from _drift_settings import EXPERIMENTS, build_setting
from _rows import HERE, revision

from metaphys._runs import RunDirectory
from metaphys.cli._progress import shown
from metaphys.training.drifting import drift
from metaphys.training.drifting._courses import cost
from metaphys.training.drifting._results import OWN, DriftRun, read_drift


def finished(system: str, root: Path, folder: Path) -> DriftRun:
    """The run of one system, or what is left of it."""
    config = dataclasses.replace(EXPERIMENTS[system], data_root=root)
    run = RunDirectory(folder, config.to_json(), resume=True)
    if not (folder / "metrics.csv").exists():
        with Book(folder / "rows.jsonl").timed(), shown() as progress:
            drift(config, run, progress, setting=build_setting(config))
    return read_drift(folder)


def summary(runs: Mapping[str, DriftRun], seconds: float) -> dict[str, Any]:
    """What is stored of finished runs, by system."""
    kept = [value for run in runs.values() for value in run.own.kept]
    systems = {
        name: {
            course.method: {"calls": cost(course.method, run.config)[1], **course.summary()}
            for course in run.courses
        }
        for name, run in runs.items()
    }
    return {
        "experiment": "drift",
        "command": "python docs/results/drift.py VOWELS",
        "metric": "mean accuracy over 50 intervals of drift over that of the fresh unit, "
        f"filtered; units of {', '.join(systems)}",
        "values": [round(value, 6) for value in kept],
        "mean": round(sum(kept) / len(kept), 6),
        "published": None,
        "baselines": {
            f"{name}, {method}": {"mean": of["kept"]}
            for name, methods in systems.items()
            for method, of in methods.items()
            if method != OWN
        },
        "systems": systems,
        "notes": notes(runs),
        "commit": revision(),
        "torch": torch.__version__,
        "learned": {name: run.summary for name, run in runs.items()},
        "seconds": round(seconds),
        "runs": [
            {"system": name, "method": course.method, "unit": unit, "accuracy": accuracy}
            for name, run in runs.items()
            for course in run.courses
            for unit, accuracy in zip(course.units, course.accuracy)
        ],
    }


def notes(runs: Mapping[str, DriftRun]) -> list[str]:
    """What has to be known beside the figures."""
    walks = "; ".join(f"{name}: {run.summary['walk']['true']}" for name, run in runs.items())
    tuned = "; ".join(
        f"{name}: {run.tuned['steps']} of {run.tuned['lr']:g}" for name, run in runs.items()
    )
    budgets = "; ".join(
        f"{name}: {run.config.first_drives} drives a layer on the first day, {run.config.drives} "
        f"in an interval, {run.config.interval_steps} steps of training on the twins"
        for name, run in runs.items()
    )
    return [
        f"Walk of each layer in an interval, by field: {walks}. Readout noise 1 % of the readout's "
        "deviation.",
        f"{budgets}.",
        "The filter's walk is learned from training units, by field. The ridge refit is one "
        "linearised step around the twin of the first day, with the true walk's deviation over all "
        "intervals as the prior, from the same drives, and with the same training.",
        "Fine-tuning: steps of physics-aware training with labelled samples, as many calls as the "
        f"filter, the twins of the first day; steps and rate are the best of eight on training "
        f"units ({tuned}).",
        "Walks, drives and steps were chosen on validation units. The test units were looked at "
        "once with this setting, and once before with another (5 drives a layer, 10 steps).",
    ]


def main(
    root: Annotated[Path, tyro.conf.Positional],
    systems: tuple[str, ...] = tuple(EXPERIMENTS),
    runs: Path = Path("runs/drift"),
) -> None:
    """Run what is left, and store the figures of all systems that were asked for.

    Args:
        root: the folder of vowdata.dat.
        systems: which.
        runs: the folder of the run directories.
    """
    found = {name: finished(name, root, runs / name) for name in systems}
    seconds = sum(Book(runs / name / "rows.jsonl").seconds for name in systems)
    stored = json.dumps(summary(found, seconds), indent=1)
    (HERE / "drift.json").write_text(stored + "\n")


if __name__ == "__main__":
    tyro.cli(main)
