"""The picture and the table of ``drift.json``: ``python docs/results/drift_page.py``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _methods import write
from matplotlib.figure import Figure

HERE = Path(__file__).parent
NAMES = {"shg": "second-harmonic generation", "circuit": "circuit", "plate": "plate"}


def mean_curve(runs: Sequence[dict[str, Any]], system: str, method: str) -> list[float]:
    """Mean accuracy of all units, by interval."""
    found = [r["accuracy"] for r in runs if (r["system"], r["method"]) == (system, method)]
    return [sum(day) / len(day) for day in zip(*found)]


def picture(result: dict[str, Any]) -> Figure:
    """Accuracy over time, a panel for each system."""
    systems = list(result["systems"])
    figure = Figure(figsize=(3.2 * len(systems) + 0.6, 3.0), layout="constrained")
    panels = figure.subplots(1, len(systems), sharey=True, squeeze=False)[0]
    for panel, system in zip(panels, systems):
        for method in result["systems"][system]:
            panel.plot(mean_curve(result["runs"], system, method), label=method)
        panel.set(title=NAMES[system], xlabel="interval", ylim=(0, 1))
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("test accuracy")
    panels[0].legend(loc="lower left", fontsize="small")
    return figure


def table(result: dict[str, Any]) -> str:
    """What each method kept, as Markdown."""
    lines = [
        "| system | method | calls an interval | units | fresh, % | kept, % | worst interval, % "
        "| worst unit, % | at the last interval, % |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    shown = ("fresh", "kept", "worst interval", "worst unit", "last interval")
    for system, methods in result["systems"].items():
        for method, of in methods.items():
            numbers = " | ".join(f"{100 * of[name]:.1f}" for name in shown)
            lines.append(
                f"| {NAMES[system]} | {method} | {of['calls']} | {of['units']} | {numbers} |"
            )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write both."""
    result = json.loads((HERE / "drift.json").read_text())
    picture(result).savefig(HERE / "drift.svg", metadata={"Date": None})
    write(HERE / "drift.md", table(result))


if __name__ == "__main__":
    main()
