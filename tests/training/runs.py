"""Made-up finished runs and what their pages show, for tests of reports and the command line."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from metaphys.training import Config, RunDirectory
from metaphys.training._loop import Loop
from metaphys.training._meta import begin_meta
from metaphys.training._problem import Problem

METHODS = {
    # name: (mean accuracy, device calls)
    "linear classifier": (0.95, 0),
    "another unit's": (0.40, 0),
    "in silico": (0.50, 0),
    "in silico + fine-tuning": (0.55, 250),
    "sharpness-aware": (0.76, 0),
    "sharpness-aware + fine-tuning": (0.78, 250),
    "population start": (0.80, 0),
    "population start + fine-tuning": (0.82, 250),
    "twin fitted by Gauss-Newton": (0.83, 240),
    "meta-learned start, not adapted": (0.70, 0),
    "meta-learned": (0.85, 250),
    "full training": (0.92, 32_000),
}


def uniform(problem: Problem, steps: int, size: float = 0.03) -> Loop:
    """Meta-learning at its beginning, with one size for all steps."""
    return begin_meta(problem, problem.initial, steps, dict.fromkeys(problem.initial, size))


def rows(seed: int = 0, units: int = 4, reached: float = 0.85) -> list[dict[str, Any]]:
    """Rows whose units lie around the means of the table; ``reached`` is that of meta-learning."""
    found = []
    for name, (usual, calls) in METHODS.items():
        mean = reached if name == "meta-learned" else usual
        places = [-1] if name == "linear classifier" else range(20_000, 20_000 + units)
        for index, unit in enumerate(places):
            # Differences from method to method are not the same on every unit.
            ripple = 0 if unit < 0 else 0.01 * math.sin(index * len(name) + seed)
            row = {"method": name, "seed": seed, "unit": unit, "labels": 50, "device_calls": calls}
            found.append({**row, "accuracy": mean + ripple})
    return found


def finished(
    path: Path, metrics: list[dict[str, Any]] | None = None, **options: Any
) -> tuple[Path, list[dict[str, Any]]]:
    """A run directory with everything that a report reads, and its rows."""
    config = Config(**options)
    run = RunDirectory(path, config.to_json())
    metrics = rows(config.seed) if metrics is None else metrics
    curve = {"step": [1, 2, 3], "loss": [2.3, 1.1, 0.9]}
    trials = [
        {"optimizer": "SGD", "loss": "cross entropy", "lr": lr, "accuracy": 0.5 + lr}
        for lr in (0.01, 0.1)
    ]
    run.write_metrics(metrics)
    full = {**curve, "accuracy": [[0.8, 0.9, 0.91], [0.85, 0.9]]}
    curves = {"in silico": curve, "meta-learning": curve, "full training": full}
    run.write_json("curves.json", curves)
    tuned = {"chosen": "SGD, cross entropy, lr 0.1", "sweep": trials}
    reached = [0.7, *[0.85 - 0.1 * 0.5**step for step in range(config.adapt_steps)]]
    course = {"accuracy": reached, "seconds": 0.01}
    summary = {"fine_tuning": tuned, "courses": {"meta-learned": course}}
    run.write_json("summary.json", {**summary, "seconds": {"meta-learning": 1.5}})
    return path, metrics


def replaced(file: Path, *place: Any, by: Any = None) -> None:
    """Put another value at a place of a JSON file, as damage or an older version leave it."""
    values = json.loads(file.read_text())
    inner = values
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = by
    file.write_text(json.dumps(values))


def text_of(page: Path) -> str:
    """What a reader sees, white space joined."""
    words: list[str] = []

    class Reader(HTMLParser):
        def handle_data(self, data: str) -> None:
            if self.lasttag != "style":
                words.append(data)

    Reader().feed(page.read_text(encoding="utf-8"))
    return " ".join(" ".join(words).split())


def assert_stands_alone(page: Path, pictures: Collection[str]) -> None:
    """It has these pictures in itself, and as files beside it, and asks nobody for anything."""
    source = page.read_text(encoding="utf-8")
    assert len(re.findall(r'<img src="data:image/svg\+xml;base64,', source)) == len(pictures)
    assert not re.search(r'(?:src|href)="(?!data:)|url\(|@import|<script', source)
    stored = {each.name for each in (page.parent / "pictures").iterdir()}
    assert stored == {f"{name}.{kind}" for name in pictures for kind in ("svg", "png")}
