"""The result of the rows that ``spice_vowels_adapted.py`` has stored: a JSON file and a table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from _book import Book
from _methods import paired_table, write

from metaphys._runs._environment import environment
from metaphys.training._statistics import Estimate, Method, difference, methods

HERE = Path(__file__).parent
NAME = "spice-vowels-adapted"
OURS, FULL = "recalibrated", "full training"
ALLOWED = 0.02
"""How far below full training on the unit the aim is."""


def store(book: Book, parameters: tuple[int, int], folder: Path = HERE) -> None:
    """Write the result, of physical and digital ``parameters``, and the table on its page."""
    result = collect(book, parameters)
    (folder / f"{NAME}.json").write_text(json.dumps(result, indent=2) + "\n")
    page = folder / f"{NAME}.md"
    if page.exists():
        write(page, told(result))


def compared(rows: list[dict[str, Any]]) -> dict[str, Method]:
    """Every method; a unit has splits of its own, which stand where other tables have seeds."""
    order: dict[int, list[int]] = {}
    for row in rows:
        splits = order.setdefault(row["unit"], [])
        if row["split"] not in splits:
            splits.append(row["split"])
    return methods(
        [
            {
                **row,
                "seed": order[row["unit"]].index(row["split"]),
                "labels": 0,
                "device_calls": row["calls"],
            }
            for row in rows
        ]
    )


def collect(book: Book, parameters: tuple[int, int]) -> dict[str, Any]:
    """What is stored; intervals are over units, each averaged over its splits."""
    found = compared(book.rows)
    ours = found[OURS]
    gains = {n: difference(ours, m) for n, m in found.items() if m is not ours}
    physical, digital = parameters
    return {
        "experiment": NAME,
        "command": "python docs/results/spice_vowels_adapted.py VOWELS",
        "commit": environment().get("revision", "unknown"),
        "torch": torch.__version__,
        "seeds": [0],
        "units": sorted({unit for _, unit, _ in ours.values}),
        "splits_per_unit": ours.accuracy.seeds,
        "metric": "test accuracy on units in ngspice never seen before, 7 vowels, 84 test vowels, "
        "at most 250 device calls to adapt",
        "values": [value for _, _, value in ours.values],
        **_mean(ours.accuracy),
        "device_calls": ours.device_calls,
        "published": None,
        "baselines": {
            n: {
                **_mean(m.accuracy),
                "worst": round(m.accuracy.least, 6),
                "calls": m.device_calls,
                "units": m.accuracy.units,
            }
            for n, m in found.items()
            if m is not ours
        },
        "paired_gain": {n: _mean(g) for n, g in gains.items() if g is not None},
        "physical_parameters": physical,
        "digital_parameters": digital,
        "seconds": book.seconds,
    }


def _mean(of: Estimate) -> dict[str, Any]:
    return {"mean": round(of.mean, 5), "interval": round(of.over_units or 0.0, 5)}


def told(result: dict[str, Any]) -> str:
    """The table, best first, and how far ours is below full training."""
    own = {key: result[key] for key in ("mean", "interval")}
    every = {f"**{OURS}**": {**own, "calls": result["device_calls"]}, **result["baselines"]}
    counted = {"units": len(result["units"]), "seeds": result["splits_per_unit"]}
    shown = {name: {**counted, **of, "half": of["interval"]} for name, of in every.items()}
    gains = {n: {**g, "half": g["interval"]} for n, g in result["paired_gain"].items()}
    behind = -result["paired_gain"][FULL]["mean"]
    reached = "reached" if behind <= ALLOWED else "NOT reached"
    aim = f"Within {100 * ALLOWED:.0f} points of full training on the unit: **{reached}**."
    return f"{paired_table(shown, gains, digits=1, repeats='splits')}\n{aim}\n"
