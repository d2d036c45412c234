"""What the tables of recalibration share: methods, best first, and the page that they stand on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from metaphys.training._statistics import Method


def stated(method: Method) -> dict[str, Any]:
    """Mean, interval and numbers of a method."""
    accuracy = method.accuracy
    half = None if accuracy.half is None else round(accuracy.half, 5)
    counted = {"units": accuracy.units, "seeds": accuracy.seeds, "calls": method.device_calls}
    return {"mean": round(accuracy.mean, 5), "half": half, **counted}


def table(result: dict[str, Any], called: str, digits: int) -> str:
    """A result and its baselines as Markdown, best first; ``called`` is the result's own name."""
    own = {"mean": result["mean"], "half": result["interval"], "calls": result["device_calls"]}
    own |= {"units": result["units_per_seed"], "seeds": len(result["seeds"])}
    every = {called: own}
    every |= {n: b for n, b in result["baselines"].items() if isinstance(b, dict)}
    lines = ["| method | accuracy, % | device calls taken | units × seeds |", "|---|---|---|---|"]
    for name, of in sorted(every.items(), key=lambda each: -each[1]["mean"]):
        half = "" if of["half"] is None else f" ± {100 * of['half']:.{digits}f}"
        row = f"| {name} | {100 * of['mean']:.{digits}f}{half} | {of['calls']:,.0f} "
        lines.append(f"{row}| {of['units']} × {of['seeds']} |")
    linear = 100 * result["baselines"]["linear classifier"]
    return "\n".join([*lines, f"| linear classifier | {linear:.1f} | 0 | |"]) + "\n"


def paired_table(
    every: dict[str, dict[str, Any]],
    gains: dict[str, dict[str, float]],
    *,
    digits: int,
    repeats: str = "seeds",
) -> str:
    """Accuracies best first, and by how many points the result is above each, paired by unit."""

    def points(mean: float, half: float | None, sign: str = "") -> str:
        interval = "" if half is None else f" ± {100 * half:.{digits}f}"
        return f"{100 * mean:{sign}.{digits}f}{interval}"

    lines = [
        f"| method | accuracy, % | device calls taken | units × {repeats} | ours minus, points |",
        "|---|---|---|---|---|",
    ]
    for name, of in sorted(every.items(), key=lambda each: -each[1]["mean"]):
        gain = gains.get(name)
        above = "" if gain is None else points(gain["mean"], gain["half"], "+")
        counted = f"{of['units']} × {of['seeds']}" if of["units"] else ""
        row = f"| {name} | {points(of['mean'], of['half'])} | {of['calls']:,.0f} "
        lines.append(f"{row}| {counted} | {above} |")
    return "\n".join(lines) + "\n"


def write(page: Path, text: str, mark: str = "table") -> None:
    """Put a table where the last one stood on its page, between ``<!-- mark -->`` and the end."""
    opening = f"<!-- {mark} -->\n"
    before, found, rest = page.read_text().partition(opening)
    if not found:
        raise ValueError(f"`page` must have a line <!-- {mark} -->, but {page.name} has none.")
    after = rest.partition("<!-- end -->\n")[2]
    page.write_text(f"{before}{opening}{text}<!-- end -->\n{after}")
