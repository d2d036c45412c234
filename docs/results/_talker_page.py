"""The table of talkers never heard before, of the rows that are stored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from _methods import write

HERE = Path(__file__).parent
NAME = "vowels-new-talker"
COLUMNS = {
    NAME: "SHG, 7 vowels",
    f"{NAME}-circuit": "circuit, 7 vowels",
    f"{NAME}-12": "SHG, 12 vowels",
    f"{NAME}-12-circuit": "circuit, 12 vowels",
}
MAIN = "meta-learned shift"
PEER = "linear classifier, mean shift of log formants"
AIMS = {"7": 0.96, "12": 0.92}


def tell(folder: Path = HERE) -> None:
    """Write the table on the page, of the files that are there."""
    paths = {name: folder / f"{name}.json" for name in COLUMNS}
    found = {n: json.loads(path.read_text()) for n, path in paths.items() if path.exists()}
    write(folder / f"{NAME}.md", table(found))


def table(found: dict[str, dict[str, Any]]) -> str:
    """Accuracies in per cent by method, one column a file."""
    columns = [COLUMNS[name] for name in found]
    lines = [f"| method | {' | '.join(columns)} |", "|---" * (1 + len(columns)) + "|"]
    methods = dict.fromkeys(m for of in found.values() for m in of["baselines"])
    cells = [f"**{_per_cent(of['mean'], of['interval'])}**" for of in found.values()]
    lines.append(f"| **{MAIN}** | {' | '.join(cells)} |")
    for method in methods:
        cells = [_per_cent(of["baselines"].get(method)) for of in found.values()]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    for label, told in _OTHERS.items():
        lines.append(f"| {label} | {' | '.join(told(name, of) for name, of in found.items())} |")
    return "\n".join(lines) + "\n"


def _per_cent(value: float | None, half: float | None = None) -> str:
    if value is None:
        return ""
    return f"{100 * value:.1f}" + ("" if half is None else f" ± {100 * half:.1f}")


def _wins(_: str, of: dict[str, Any]) -> str:
    gains = [run["accuracy"][MAIN] - run["accuracy"][PEER] for run in of["runs"]]
    return f"{sum(gain > 0 for gain in gains)} of {len(gains)}"


def _aim(name: str, of: dict[str, Any]) -> str:
    least = AIMS["12" if "-12" in name else "7"]
    return f"{100 * least:.0f}: {'reached' if of['mean'] >= least else 'NOT reached'}"


_OTHERS = {
    "draws above the linear classifier with its shift": _wins,
    "meant": _aim,
    "device calls to adapt": lambda _, of: str(of["device_calls"]["to adapt"]),
    "with gradient steps": lambda _, of: str(of["device_calls"]["with gradient steps"] or ""),
    "seeds × men": lambda _, of: f"{len(of['seeds'])} × {len(of['runs']) // len(of['seeds'])}",
}
