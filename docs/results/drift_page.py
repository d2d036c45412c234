"""The picture and the table of ``drift.json``: ``python docs/results/drift_page.py``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from _methods import write
from matplotlib import rc_context
from matplotlib.figure import Figure

from metaphys._runs._drawing import SETTINGS
from metaphys.training.drifting import Course
from metaphys.training.drifting._pictures import panel

HERE = Path(__file__).parent
NAMES = {"shg": "second-harmonic generation", "circuit": "circuit", "plate": "plate"}


def courses(result: dict[str, Any], system: str) -> list[Course]:
    """What is stored of a system, by method."""
    found = []
    for method in result["systems"][system]:
        mine = [r for r in result["runs"] if (r["system"], r["method"]) == (system, method)]
        units = tuple(run["unit"] for run in mine)
        found.append(Course(method, units, [run["accuracy"] for run in mine]))
    return found


def picture(result: dict[str, Any]) -> Figure:
    """Accuracy over time, a panel for each system."""
    systems = list(result["systems"])
    with rc_context(SETTINGS):
        figure = Figure(figsize=(3.0 * len(systems) + 0.6, 3.2))
        panels = figure.subplots(1, len(systems), sharey=True, squeeze=False)[0]
        for axes, system in zip(panels, systems):
            panel(axes, courses(result, system))
            axes.set_title(NAMES[system])
            axes.label_outer()
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4)
        return figure


def table(result: dict[str, Any]) -> str:
    """What each method kept, as Markdown."""
    lines = [
        "| system | method | calls an interval | units | fresh, % | kept, % | worst interval, % "
        "| worst unit, % | at the last interval, % |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    shown = ("worst interval", "worst unit", "last interval")
    for system, methods in result["systems"].items():
        for method, of in methods.items():
            half = "" if of["half"] is None else f" ± {100 * of['half']:.1f}"
            numbers = " | ".join(f"{100 * of[name]:.1f}" for name in shown)
            kept = f"{100 * of['fresh']:.1f} | {100 * of['kept']:.1f}{half} | {numbers}"
            lines.append(f"| {NAMES[system]} | {method} | {of['calls']} | {of['units']} | {kept} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write both."""
    result = json.loads((HERE / "drift.json").read_text())
    picture(result).savefig(HERE / "drift.svg", metadata={"Date": None})
    write(HERE / "drift.md", table(result))


if __name__ == "__main__":
    main()
