"""The page of results: one table for each file of ``docs/results``, with its command."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "results"

INTRODUCTION = """# Results

Every file of `docs/results` is one experiment: what was measured, with which command, from which
revision. This page is made from them. A value is the mean with its 95 % interval; a value without
an interval was measured once, or taken from where the table says.
"""


def page() -> str:
    """All results as Markdown."""
    parts = [INTRODUCTION]
    for path in sorted(RESULTS.glob("*.json")):
        parts.append(section(path.stem, json.loads(path.read_text(encoding="utf-8"))))
    return "\n".join(parts)


def section(name: str, found: dict[str, Any]) -> str:
    """One experiment as Markdown.

    Args:
        name: its title, the file's stem.
        found: what the file holds: ``experiment``, ``command``, ``metric``, ``mean``; and, where it
            has them, an interval, ``baselines``, ``methods``, ``published``, ``notes``.
    """
    words = name.replace("_", "-").split("-")
    title = " ".join(word.upper() if word in _ABBREVIATIONS else word for word in words)
    lines = [f"## {title[0].upper()}{title[1:]}", ""]
    if found.get("experiment", name) != name:
        lines += [found["experiment"], ""]
    if "command" in found:
        lines += ["```sh", found["command"], "```", ""]
    versions = [f"{key} {found[key]}" for key in ("torch", "commit") if key in found]
    if "seeds" in found:
        versions.append(f"seeds {', '.join(map(str, found['seeds']))}")
    measured = f"Measured: {found['metric']}. " if "metric" in found else ""
    if measured or versions:
        lines += [f"{measured}({'; '.join(versions)})", ""]
    if "mean" in found:
        lines += _rows("", _values(found))
    else:  # a plain record of one run
        shown = ("experiment", "command", "torch", "commit")
        rest = {key: value for key, value in found.items() if key not in shown}
        lines += _rows("quantity", {key: _plain(value) for key, value in rest.items()})
    for key, title in _DIFFERENCES.items():
        if found.get(key):
            lines += _rows(title, {k: estimate(v) for k, v in found[key].items()})
    lines += [f"- {note}" for note in found.get("notes", [])]
    for picture in sorted(RESULTS.glob(f"{name}*.svg")):
        kind = picture.stem.removeprefix(name).strip("-") or "learning curves"
        lines += ["", f"![{title[0].upper()}{title[1:]}: {kind}](results/{picture.name})", ""]
    text = RESULTS / f"{name}.md"
    if text.exists():
        lines += [f"[How it was done, and what else was seen](results/{text.name})", ""]
    return "\n".join(lines) + "\n"


_ABBREVIATIONS = {"rl", "mnist", "shg", "pat"}

_DIFFERENCES = {
    "paired_gain": "gain over",
    "differences": "difference",
}


def _rows(title: str, values: dict[str, str]) -> list[str]:
    lines = [f"| {title or 'method'} | value |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in values.items()]
    return [*lines, ""]


def _values(found: dict[str, Any]) -> dict[str, str]:
    ours = {"mean": found["mean"], "half": found.get("half", found.get("interval"))}
    values = {f"**{found.get('winner', 'this experiment')}**": f"**{estimate(ours)}**"}
    for name, method in found.get("methods", {}).items():
        if name != found.get("winner") and isinstance(method, dict) and "after" in method:
            values[f"{name}: {method['about']}" if "about" in method else name] = estimate(
                method["after"]
            )
    if 1 < len(found.get("values", [])) == len(found.get("seeds", [])):
        values["the same by seed"] = _plain(found["values"])
    values |= {name: estimate(value) for name, value in (found.get("baselines") or {}).items()}
    published = found.get("published") or {}
    if isinstance(published, dict):
        values |= {f"{name} (published)": estimate(value) for name, value in published.items()}
    for kind in ("physical", "digital"):
        if f"{kind}_parameters" in found:
            values[f"{kind} parameters"] = str(found[f"{kind}_parameters"])
    return values


def _plain(value: Any) -> str:
    each = value if isinstance(value, list) else [value]
    return ", ".join(str(v) if isinstance(v, int) else estimate(v) for v in each)


def estimate(value: Any) -> str:
    """A number to four digits, or a mean with half of its interval, as precise as that.

    Example:
        >>> estimate(0.12345), estimate({"mean": 10.0021, "half": 0.028}), estimate("none")
        ('0.1235', '10.002 ± 0.028', 'none')
    """
    if isinstance(value, dict) and "mean" in value:
        half = value.get("half", value.get("interval"))
        if not half:
            return estimate(value["mean"])
        places = max(0, 1 - math.floor(math.log10(half)))
        return f"{value['mean']:.{places}f} ± {half:.{places}f}"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    return f"{value:.4g}"
