"""The result of the rows that ``recalibration_units.py`` has stored: a JSON file and a table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from _book import Book
from _methods import stated, table, write
from _recalibration_settings import NOMINAL_STEPS

from metaphys._runs._environment import environment
from metaphys.training._statistics import Method, difference, methods
from metaphys.training.recalibration import Setting

HERE = Path(__file__).parent
WANTED = 60
"""Units times seeds."""


def store(
    setting: Setting,
    book: Book,
    name: str,
    *,
    linear: float,
    folder: Path = HERE,
) -> None:
    """Write ``recalibration-NAME.json`` and its page, where there are rows of ours."""
    budget = setting.config.budgets[-1]
    if not any(row["method"] == f"recalibrated, {budget} calls" for row in book.rows):
        return
    result = collect(setting, book, name, linear)
    path = folder / f"recalibration-{name}"
    path.with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")
    page = path.with_suffix(".md")
    if page.exists():
        write(page, told(result))


def collect(setting: Setting, book: Book, name: str, linear: float) -> dict[str, Any]:
    """What is stored."""
    config = setting.config
    found = compared(book.rows)
    ours = found[f"recalibrated, {config.budgets[-1]} calls"]
    others = {n: m for n, m in found.items() if m is not ours}
    gains = {n: difference(ours, m) for n, m in others.items()}
    first = setting.populations[0]
    return {
        "experiment": f"recalibration-{name}",
        "command": f"python docs/results/recalibration_units.py {name} --data-root DATA",
        "commit": environment().get("revision", "unknown"),
        "torch": torch.__version__,
        "seeds": sorted({seed for seed, _, _ in ours.values}),
        "units_per_seed": ours.accuracy.units,
        "metric": f"test accuracy on units never seen before, of {len(setting.data.test)} samples, "
        f"at most {config.budgets[-1]} device calls",
        "values": [value for _, _, value in ours.values],
        "mean": round(ours.accuracy.mean, 5),
        "interval": round(ours.accuracy.half or 0.0, 5),
        "device_calls": ours.device_calls,
        "published": None,
        "baselines": {
            **{n: stated(m) for n, m in others.items()},
            "linear classifier": linear,
        },
        "gap_closed": closed(found, config.budgets),
        "paired_gain": {
            n: {"mean": round(g.mean, 5), "half": round(g.half or 0.0, 5)}
            for n, g in gains.items()
            if g is not None
        },
        "physical_parameters": sum(
            v.numel() for n, v in setting.initial(0).items() if ".controls." in n
        ),
        "digital_parameters": sum(
            v.numel() for n, v in setting.initial(0).items() if ".controls." not in n
        ),
        "seconds": book.seconds,
        "notes": [
            f"{len(ours.values)} of {WANTED} units times seeds are judged so far.",
            f"Units: {first.spread}, each layer a unit; readout noise {first.noise:.3g}.",
            f"{setting.data.features} features, {len(setting.data.train)} training samples; "
            f"{config.start_steps} steps of {config.batch} samples make a population start, "
            f"{NOMINAL_STEPS.get(config.system, config.start_steps)} one in silico; "
            f"{config.twin_steps} of {config.twin_batch or config.batch} are taken on the twin.",
        ],
    }


def compared(rows: Sequence[dict[str, Any]]) -> dict[str, Method]:
    """Every method's accuracies."""
    return methods([{**row, "labels": 0, "device_calls": row["calls"]} for row in rows])


def closed(found: dict[str, Method], budgets: Sequence[int]) -> dict[str, float]:
    """The part of the way from the population start to full training; seed 0, units that have both.

    Example, on one unit: from 60 % to 90 % of 60 % to 100 % is 0.75.
    """

    def of(name: str) -> dict[int, float]:
        method = found.get(name)
        return {u: v for s, u, v in method.values if s == 0} if method is not None else {}

    low, high, result = of("population start"), of("full training"), {}
    for budget in budgets:
        ours = of(f"recalibrated, {budget} calls")
        units = low.keys() & high.keys() & ours.keys()
        start, reached, full = (sum(each[u] for u in units) for each in (low, ours, high))
        if full > start:
            result[str(budget)] = round((reached - start) / (full - start), 4)
    return result


def told(result: dict[str, Any]) -> str:
    """The table, and what was closed of the gap."""
    parts = ", ".join(f"{100 * v:.0f} % at {b}" for b, v in result["gap_closed"].items())
    closed_part = f"Closed of the gap between population start and full training: {parts} calls"
    return f"{table(result, 'recalibrated, all calls', 1)}\n{closed_part} (seed 0).\n"
