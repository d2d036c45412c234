"""Units that drift, kept at work by a few calls in every interval: ``drift.json``.

Run as ``python docs/results/drift.py VOWELS`` with the folder of ``vowdata.dat``: the experiment of
``metaphys drift``, with the networks of ``_drift_settings.py``. A stopped script goes on where it
was; a system whose run directory is finished is read. ``drift_page.py`` makes the page of it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from _book import Book
from _drift_settings import EXPERIMENTS, build_setting
from _rows import HERE

from metaphys._runs import RunDirectory
from metaphys._runs._environment import revision
from metaphys.cli._progress import shown
from metaphys.training.drifting import Course, drift
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


def summary(
    runs: Mapping[str, DriftRun],
    seconds: Mapping[str, float],
    stored: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What is stored of finished runs, by system; systems that did not run stay as they were."""
    others = {} if stored is None else {n: _of(stored, n) for n in stored["systems"]}
    found = others | {name: _found(run, seconds[name]) for name, run in runs.items()}
    found = {name: found[name] for name in EXPERIMENTS if name in found}
    kept = [value for of in found.values() for value in _own(of["runs"])]
    return {
        "experiment": "drift",
        "command": "python docs/results/drift.py VOWELS",
        "metric": "mean accuracy over 50 intervals of drift over that of the fresh unit, "
        f"filtered; units of {', '.join(found)}",
        "values": [round(value, 6) for value in kept],
        "mean": round(sum(kept) / len(kept), 6),
        "published": None,
        "baselines": {
            f"{name}, {method}": {"mean": methods[method]["kept"]}
            for name, methods in ((name, of["systems"]) for name, of in found.items())
            for method in methods
            if method != OWN
        },
        "systems": {name: of["systems"] for name, of in found.items()},
        "notes": notes({name: of["learned"] for name, of in found.items()}),
        "commits": {name: of["commits"] for name, of in found.items()},
        "torch": torch.__version__,
        "learned": {name: of["learned"] for name, of in found.items()},
        "seconds": {name: of["seconds"] for name, of in found.items()},
        "runs": [run for of in found.values() for run in of["runs"]],
    }


def _found(run: DriftRun, seconds: float) -> dict[str, Any]:
    """The parts of the file that one system has."""
    methods: dict[str, Any] = {}
    for course in run.courses:
        _, calls = cost(course.method, run.config, run.tuned["steps"])
        methods[course.method] = {"calls": calls, **course.summary()}
    told = [
        {"system": run.config.system, "method": of.method, "unit": unit, "accuracy": accuracy}
        for of in run.courses
        for unit, accuracy in zip(of.units, of.accuracy)
    ]
    return {
        "systems": methods,
        "learned": run.summary,
        "commits": revision(HERE),
        "seconds": round(seconds),
        "runs": told,
    }


def _of(stored: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The same of a system as it is stored."""
    own = {part: stored[part][name] for part in ("systems", "learned", "commits", "seconds")}
    return own | {"runs": [run for run in stored["runs"] if run["system"] == name]}


def _own(runs: Sequence[Mapping[str, Any]]) -> list[float]:
    """What every unit kept under the filter."""
    own = [run for run in runs if run["method"] == OWN]
    return Course(OWN, tuple(r["unit"] for r in own), [r["accuracy"] for r in own]).kept


def notes(learned: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What has to be known beside the figures, from what was learned for each system."""
    walks = "; ".join(f"{name}: {of['walk']['true']}" for name, of in learned.items())
    best = {n: max(of["trials"], key=lambda t: t["accuracy"]) for n, of in learned.items()}
    tuned = "; ".join(f"{name}: {of['steps']} of {of['lr']:g}" for name, of in best.items())
    settings = {name: EXPERIMENTS[name] for name in learned}
    budgets = "; ".join(
        f"{name}: {config.first_drives} drives a layer on the first day, {config.drives} "
        f"in an interval, {config.interval_steps} steps of training on the twins"
        for name, config in settings.items()
    )
    equalized = ", ".join(name for name, config in settings.items() if config.equalize)
    return [
        f"Walk of each layer in an interval, by field: {walks}. Readout noise 1 % of the readout's "
        "deviation.",
        f"{budgets}.",
        f"Readings brought back to their nominal size by today's twin (`equalize`): {equalized}.",
        "The filter's walk is learned from training units, by field. The ridge refit is one "
        "linearised step around the twin of the first day, with the true walk's deviation over all "
        "intervals as the prior, from the same drives, and with the same training.",
        "Fine-tuning: steps of physics-aware training with labelled samples, as many calls as the "
        f"filter, the twins of the first day; steps and rate are the best of eight on training "
        f"units ({tuned}).",
        "Walks, drives and steps were chosen on validation units. The test units of circuit and "
        "plate were looked at once with this setting, and once before with another (5 drives a "
        "layer, 10 steps); those of shg once more before, without `equalize` and with a wider "
        "walk.",
    ]


def main(
    root: Annotated[Path, tyro.conf.Positional],
    systems: tuple[str, ...] = tuple(EXPERIMENTS),
    runs: Path = Path("runs/drift"),
) -> None:
    """Run what is left, and store the figures of the systems that were asked for.

    Args:
        root: the folder of vowdata.dat.
        systems: which.
        runs: the folder of the run directories.
    """
    found = {name: finished(name, root, runs / name) for name in systems}
    seconds = {name: Book(runs / name / "rows.jsonl").seconds for name in systems}
    path = HERE / "drift.json"
    stored = json.loads(path.read_text()) if path.exists() else None
    path.write_text(json.dumps(summary(found, seconds, stored), indent=1) + "\n")


if __name__ == "__main__":
    tyro.cli(main)
