"""Store what ``recalibration_oscillators.py`` has in its run directories: JSON files and tables.

Run as ``python docs/results/recalibration_oscillators_table.py runs``; of the rows that are there,
however many, it writes ``recalibration-oscillators-mnist.json``, that of the wide spread, and the
tables in their pages.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from _methods import stated, table, write

from metaphys._runs._environment import environment
from metaphys.training._statistics import Method, difference, methods

HERE = Path(__file__).parent
STEM = "recalibration-oscillators-mnist"
NAMES = {"1": STEM, "2": f"{STEM}-wide", "uncancellable": f"{STEM}-uncancellable"}
POPULATIONS = {
    "1": "offsets of spread 1.0",
    "2": "offsets of spread 2.0",
    "uncancellable": "offsets of spread 1.0, a gain N(0.1, 0.05) in each oscillator, readout noise "
    "0.02 rad, 8-bit controls",
}
OURS, BUDGET = "recalibrated", 250
WANTED = 60
"""Units times seeds."""
LINEAR = 0.877
"""Softmax regression on the same pixels, all 60,000 images (metaphys.data.mnist)."""

Rows = Sequence[dict[str, Any]]


def compared(rows: Rows) -> dict[str, Method]:
    """Methods of one limit, each with its budget of device calls in the name."""
    named = [
        {**row, "method": _named(row), "labels": 0, "device_calls": row["calls"]} for row in rows
    ]
    return methods(named)


def _named(row: dict[str, Any]) -> str:
    return row["method"] if row["budget"] <= 0 else f"{row['method']}, {row['budget']} calls"


def collect(rows: Rows, variant: str) -> dict[str, Any]:
    """The stored result of the rows of one population.

    Raises:
        ValueError: there are no rows of our method.
    """
    labels = sorted({row["label"] for row in rows} - {"no limit"})
    found = compared([row for row in rows if row["label"] == labels[0]])
    free = compared([row for row in rows if row["label"] == "no limit"])
    ours = found.get(f"{OURS}, {BUDGET} calls")
    if ours is None:
        raise ValueError(f"`rows` must hold {OURS!r} at {BUDGET} calls, but got {list(found)}.")
    baselines = {n: stated(m) for n, m in found.items() if m is not ours}
    baselines |= {f"{n}, no limit of the couplings": stated(m) for n, m in free.items()}
    gains = {n: difference(ours, m) for n, m in found.items() if m is not ours}
    seeds = sorted({seed for seed, _, _ in ours.values})
    facts = environment()
    return {
        "experiment": NAMES[variant],
        "command": "python docs/results/recalibration_oscillators.py --data-root MNIST",
        "commit": facts.get("revision", "unknown"),
        "torch": torch.__version__,
        "seeds": seeds,
        "units_per_seed": ours.accuracy.units,
        "metric": f"test accuracy on units never seen before, {POPULATIONS[variant]}, at most "
        f"{BUDGET} device calls, couplings within ±{labels[0].removeprefix('limit ')}",
        "values": [value for _, _, value in ours.values],
        "mean": round(ours.accuracy.mean, 5),
        "interval": round(ours.accuracy.half or 0.0, 5),
        "device_calls": ours.device_calls,
        "published": None,
        "baselines": {**baselines, "linear classifier": LINEAR},
        "paired_gain": {
            n: {"mean": round(g.mean, 5), "half": round(g.half or 0.0, 5)}
            for n, g in gains.items()
            if g is not None
        },
        "physical_parameters": 59 * 58 // 2 + 59,
        "digital_parameters": 0,
        "notes": [f"{len(ours.values)} of {WANTED} units times seeds are judged so far."],
    }


def main() -> None:
    """Write what there is."""
    for variant, name in NAMES.items():
        file = Path(sys.argv[1]) / f"recalibration-oscillators-{variant}" / "rows.jsonl"
        if not file.exists():
            continue
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        result = collect(rows, variant)
        result["seconds"] = json.loads((file.parent / "seconds.json").read_text())
        (HERE / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n")
        text = table(result, f"{OURS}, {BUDGET} calls", 2)
        write(HERE / f"{name}.md", text)
        print(text)


if __name__ == "__main__":
    main()
