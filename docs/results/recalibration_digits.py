"""Store the result of finished runs: ``recalibration-digits.json`` and its table.

The runs, one a seed, are made by::

    metaphys meta-train --seed S --units 20 --meta-steps 600 --run-dir runs/digits-S

and this script, with their directories as arguments, writes beside itself what the documentation
cites.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from metaphys.training import build, read_config, read_metrics
from metaphys.training._config import Config
from metaphys.training._statistics import Estimate, Method, difference, methods

HERE = Path(__file__).parent
NAME = "recalibration-digits"
RIVALS = (
    "another unit's",
    "twin fitted by Gauss-Newton",
    "in silico + fine-tuning",
    "sharpness-aware",
    "sharpness-aware + fine-tuning",
    "population start",
    "population start + fine-tuning",
)


def _points(estimate: Estimate) -> str:
    half = "" if estimate.half is None else f" ± {100 * estimate.half:.1f}"
    return f"{100 * estimate.mean:.1f}{half}"


def _judged(method: Method) -> str:
    units = Counter(seed for seed, unit, _ in method.values if unit >= 0)
    return f"{max(units.values())} x {len(units)}" if units else "–"


def _parameters(config: Config) -> int:
    return sum(value.numel() for value in build(config).initial.values())


def collect(runs: list[Path]) -> tuple[dict[str, Any], str]:
    """The stored result of some runs, and its page."""
    stored = [read_config(run) for run in runs]
    config = Config.from_json(stored[0]["config"])
    rows = [row for run in runs for row in read_metrics(run / "metrics.csv")]
    found = methods(rows)
    reached = found["meta-learned"]
    gains = {name: difference(reached, found[name]) for name in RIVALS}
    seconds = [
        sum(json.loads((run / "summary.json").read_text())["seconds"].values()) for run in runs
    ]
    result = {
        "experiment": NAME,
        "command": f"metaphys meta-train --seed S --units {config.units} "
        f"--meta-steps {config.meta_steps} --run-dir runs/digits-S",
        "commit": stored[0]["environment"]["revision"],
        "torch": stored[0]["environment"]["torch"],
        "seeds": [run["config"]["seed"] for run in stored],
        "units_per_seed": config.units,
        "metric": "test accuracy on units never seen before, 50 labels and 250 device calls",
        "values": [value for _, _, value in reached.values],
        "mean": round(reached.accuracy.mean, 5),
        "interval": round(reached.accuracy.half or 0.0, 5),
        "published": None,
        "baselines": {n: round(m.accuracy.mean, 5) for n, m in found.items() if m is not reached},
        "paired_gain": {n: {"mean": g.mean, "half": g.half} for n, g in gains.items() if g},
        "physical_parameters": _parameters(config),
        "digital_parameters": 0,
        "seconds": seconds,
    }
    return result, _page(result, found, gains)


def _page(result: dict[str, Any], found: dict[str, Any], gains: dict[str, Any]) -> str:
    lines = [
        f"Command, for S in {result['seeds']}: `{result['command']}`, then "
        f"`python docs/results/recalibration_digits.py runs/digits-*` "
        f"(torch {result['torch']}, revision {result['commit']}).",
        "",
        "| method | accuracy, % | worst unit | labels | device calls | units x seeds |",
        "|---|---|---|---|---|---|",
    ]
    for name, method in found.items():
        lines.append(
            f"| {name} | {_points(method.accuracy)} | {100 * method.accuracy.least:.1f} "
            f"| {method.labels:.0f} | {method.device_calls:.0f} | {_judged(method)} |"
        )
    lines += ["", "| meta-learned minus | points, paired by unit |", "|---|---|"]
    lines += [f"| {name} | {_points(gain)} |" for name, gain in gains.items() if gain]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the JSON file, and the table into the page between its marks."""
    result, table = collect([Path(argument) for argument in sys.argv[1:]])
    (HERE / f"{NAME}.json").write_text(json.dumps(result, indent=2) + "\n")
    page = HERE / f"{NAME}.md"
    before, _, rest = page.read_text().partition("<!-- table -->\n")
    _, _, after = rest.partition("<!-- end -->\n")
    page.write_text(f"{before}<!-- table -->\n{table}<!-- end -->\n{after}")
    print(table)


if __name__ == "__main__":
    main()
