"""The result of the rows that ``recalibration_labels.py`` has stored: a JSON file and a table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from _book import Book
from _methods import paired_table, stated, write

from metaphys._runs._environment import environment
from metaphys.training._statistics import difference, methods

HERE = Path(__file__).parent
NAME = "recalibration-labels-only"
OURS, RIVAL, FULL = "meta-learned", "population start", "full training"
AIM = 1.5
"""Points over the converged population start."""


def store(book: Book, folder: Path = HERE) -> None:
    """Write the result, and the table on its page, where there are rows of ours and the rival's."""
    if not all(book.has(method=method) for method in (OURS, RIVAL)):
        return
    result = collect(book.rows, book.seconds)
    (folder / f"{NAME}.json").write_text(json.dumps(result, indent=2) + "\n")
    page = folder / f"{NAME}.md"
    if page.exists():
        write(page, told(result))


def collect(rows: list[dict[str, Any]], seconds: float) -> dict[str, Any]:
    """What is stored: points over the population start, and every accuracy."""
    found = methods([{**row, "labels": 0, "device_calls": row["calls"]} for row in rows])
    ours, rival = found[OURS], found[RIVAL]
    gains = {n: difference(ours, m) for n, m in found.items() if m is not ours}
    points = gains[RIVAL]
    assert points is not None
    there = {(seed, unit): value for seed, unit, value in rival.values}
    seeds = sorted({seed for seed, _, _ in ours.values})
    return {
        "experiment": NAME,
        "command": "python docs/results/recalibration_labels.py --data-root MNIST",
        "commit": environment().get("revision", "unknown"),
        "torch": torch.__version__,
        "seeds": seeds,
        "units_per_seed": ours.accuracy.units,
        "metric": "points of test accuracy over the converged population start, paired by unit: "
        "50 labelled images, 4 physics-aware steps, no fit of the twin; offsets of spread 1.0, "
        "couplings within ±4",
        "values": [round(100 * (v - there[s, u]), 5) for s, u, v in ours.values],
        "mean": round(100 * points.mean, 5),
        "interval": round(100 * (points.half or 0.0), 5),
        "accuracy": stated(ours),
        "device_calls": ours.device_calls,
        "published": None,
        "baselines": {
            **{n: stated(m) for n, m in found.items() if m is not ours},
            **_elsewhere(),
        },
        "paired_gain": {
            n: {"mean": round(g.mean, 5), "half": round(g.half or 0.0, 5)}
            for n, g in gains.items()
            if g is not None
        },
        "physical_parameters": 59 * 58 // 2 + 59,
        "digital_parameters": 0,
        "seconds": seconds,
        "notes": [
            "Full training and the linear classifier are those of recalibration-oscillators-mnist: "
            "the same units, limit and images.",
            "Seconds are of judging on the clock and of what is learned on the processor, "
            "beside other work.",
        ],
    }


def _elsewhere() -> dict[str, Any]:
    """What does not depend on the labels, from the row that has the same units."""
    other = json.loads((HERE / "recalibration-oscillators-mnist.json").read_text())["baselines"]
    return {name: other[name] for name in (FULL, "linear classifier")}


def told(result: dict[str, Any]) -> str:
    """The table, best first, and whether the aim is reached."""
    every = {f"**{OURS}**": result["accuracy"], **result["baselines"]}
    linear = every.pop("linear classifier")
    every["linear classifier"] = {
        "mean": linear,
        "half": None,
        "calls": 0,
        "units": "",
        "seeds": "",
    }
    least = result["mean"] - result["interval"]
    reached = "reached" if result["mean"] >= AIM and least > 0 else "NOT reached"
    return (
        paired_table(every, result["paired_gain"], digits=2)
        + f"\n{result['mean']:+.2f} ± {result['interval']:.2f} points over the population start; "
        f"meant were {AIM} with an interval that excludes 0: **{reached}**.\n"
    )
