"""The result of the rows that ``recalibration_units.py`` has stored: a JSON file and a table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from metaphys._runs._environment import environment
from metaphys.training._statistics import Method, difference, methods
from metaphys.training.recalibration import Setting

if TYPE_CHECKING:  # the folder of scripts is on the path of a script only
    from _book import Book

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
        before, _, rest = page.read_text().partition("<!-- table -->\n")
        text = f"<!-- table -->\n{table(result)}<!-- end -->\n"
        page.write_text(before + text + rest.partition("<!-- end -->\n")[2])


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


def stated(method: Method) -> dict[str, Any]:
    """Mean, interval and numbers of a method."""
    accuracy = method.accuracy
    half = None if accuracy.half is None else round(accuracy.half, 5)
    counted = {"units": accuracy.units, "seeds": accuracy.seeds, "calls": method.device_calls}
    return {"mean": round(accuracy.mean, 5), "half": half, **counted}


def table(result: dict[str, Any]) -> str:
    """The result as Markdown, best first."""
    own = {"mean": result["mean"], "half": result["interval"], "calls": result["device_calls"]}
    own |= {"units": result["units_per_seed"], "seeds": len(result["seeds"])}
    every = {"recalibrated, all calls": own}
    every |= {n: b for n, b in result["baselines"].items() if isinstance(b, dict)}
    lines = ["| method | accuracy, % | device calls taken | units × seeds |", "|---|---|---|---|"]
    for name, of in sorted(every.items(), key=lambda each: -each[1]["mean"]):
        half = "" if of["half"] is None else f" ± {100 * of['half']:.1f}"
        row = f"| {name} | {100 * of['mean']:.1f}{half} | {of['calls']:,.0f} "
        lines.append(f"{row}| {of['units']} × {of['seeds']} |")
    linear_row = 100 * result["baselines"]["linear classifier"]
    lines.append(f"| linear classifier | {linear_row:.1f} | 0 | |")
    parts = ", ".join(f"{100 * v:.0f} % at {b}" for b, v in result["gap_closed"].items())
    told = f"Closed of the gap between population start and full training: {parts} calls (seed 0)."
    return "\n".join([*lines, "", told]) + "\n"
