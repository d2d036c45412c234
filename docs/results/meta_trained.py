"""Store the result of finished runs of ``metaphys meta-train``: a JSON file, and its table.

Run as ``python docs/results/meta_trained.py NAME RUN...`` with the directories of runs that differ
by their seed alone: ``NAME.json`` beside this file, and the table on the page that shows it.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import tyro
from _methods import write

from metaphys.training import build, read_config, read_metrics
from metaphys.training._config import Config
from metaphys.training._statistics import Estimate, Method, difference, methods

HERE = Path(__file__).parent
HOW_TO = HERE.parent / "how-to" / "meta-train-controllers.md"
MAIN = "meta-learned"
ELSEWHERE = ("seed", "data_root", "threads")
"""Options that say nothing of what was measured, or stand in the command already."""


def command(config: Config, name: str) -> str:
    """The options that are not the usual ones; ``S`` stands for the seed."""
    usual, words = Config(), ["metaphys meta-train --seed S"]
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name not in ELSEWHERE and value != getattr(usual, field.name):
            listed = " ".join(value) if isinstance(value, tuple) else str(value)
            words.append(f"--{field.name.replace('_', '-')} {listed}")
    if config.data_root is not None:
        words.append("--data-root DATA")
    return " ".join([*words, f"--run-dir runs/{name}-S"])


def same_but_seed(configs: list[Config]) -> Config:
    """Their configuration; refused where they differ by more than their seeds."""
    first, *others = (dataclasses.replace(config, seed=0) for config in configs)
    seeds = {config.seed for config in configs}
    if any(config != first for config in others) or len(seeds) < len(configs):
        message = "`runs` must differ by their seed and nothing else; leave out what is of others."
        raise ValueError(message)
    return first


def collect(name: str, runs: list[Path]) -> tuple[dict[str, Any], str]:
    """The stored result of some runs, and its table."""
    stored = [read_config(run) for run in runs]
    config = same_but_seed([Config.from_json(each["config"]) for each in stored])
    found = methods([row for run in runs for row in read_metrics(run / "metrics.csv")])
    reached = found[MAIN]
    gains = {n: difference(reached, method) for n, method in found.items() if method is not reached}
    summaries = [json.loads((run / "summary.json").read_text()) for run in runs]
    result = {
        "experiment": name,
        "command": command(config, name),
        "commit": stored[0]["environment"]["revision"],
        "torch": stored[0]["environment"]["torch"],
        "seeds": [run["config"]["seed"] for run in stored],
        "units_per_seed": config.units,
        "metric": f"test accuracy on units never seen before, {config.labels} labels and "
        f"{config.calls} device calls",
        "values": [value for _, _, value in reached.values],
        "mean": round(reached.accuracy.mean, 5),
        "interval": round(reached.accuracy.half or 0.0, 5),
        "published": None,
        "baselines": {n: round(m.accuracy.mean, 5) for n, m in found.items() if m is not reached},
        "paired_gain": {n: {"mean": g.mean, "half": g.half} for n, g in gains.items() if g},
        **_parameters(config),
        "seconds": [sum(summary["seconds"].values()) for summary in summaries],
    }
    return result, table(result, found, gains)


def table(
    result: dict[str, Any], found: dict[str, Method], gains: dict[str, Estimate | None]
) -> str:
    """Every method, and by how many points meta-learning is above it, paired by unit."""
    lines = [
        f"Command, for S in {result['seeds']}: `{result['command']}`, then "
        f"`python docs/results/meta_trained.py {result['experiment']} "
        f"runs/{result['experiment']}-*` "
        f"(torch {result['torch']}, revision {result['commit']}).",
        "",
        "| method | accuracy, % | worst unit | labels | device calls | units × seeds "
        "| meta-learned minus, points |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, method in found.items():
        gain = gains.get(name)
        lines.append(
            f"| {f'**{name}**' if name == MAIN else name} | {_points(method.accuracy)} "
            f"| {100 * method.accuracy.least:.1f} | {method.labels:.0f} "
            f"| {method.device_calls:.0f} | {_judged(method)} | {_points(gain) if gain else ''} |"
        )
    return "\n".join(lines) + "\n"


def _points(estimate: Estimate) -> str:
    half = "" if estimate.half is None else f" ± {100 * estimate.half:.1f}"
    return f"{100 * estimate.mean:.1f}{half}"


def _judged(method: Method) -> str:
    units = Counter(seed for seed, unit, _ in method.values if unit >= 0)
    return f"{max(units.values())} × {len(units)}" if units else "–"


def _parameters(config: Config) -> dict[str, int]:
    counted = {"physical_parameters": 0, "digital_parameters": 0}
    for name, value in build(config).initial.items():
        kind = "physical" if ".controls." in name else "digital"
        counted[f"{kind}_parameters"] += value.numel()
    return counted


def page_of(name: str) -> Path:
    """Where a result is shown: a page of its own, if it has one, or the how-to."""
    own = HERE / f"{name}.md"
    return own if own.exists() else HOW_TO


def main(
    name: Annotated[str, tyro.conf.Positional], runs: Annotated[list[Path], tyro.conf.Positional]
) -> None:
    """Write the JSON file, and the table into its page.

    Args:
        name: of the result.
        runs: directories of finished runs, one for each seed.
    """
    result, shown = collect(name, runs)
    (HERE / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n")
    page = page_of(name)
    write(page, shown, "table" if page != HOW_TO else name)
    print(shown)


if __name__ == "__main__":
    tyro.cli(main)
