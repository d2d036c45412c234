"""Store the result of finished runs of ``metaphys train``: one JSON file for one experiment.

Run as ``python docs/results/trained.py RUN_DIR [RUN_DIR ...]``, with runs that differ in seed or
unit alone. The file is called after what was trained: ``circuit-spice-digits-pat.json``. Other
scripts here that train on units store their results by this one.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from metaphys._runs import half_interval
from metaphys.training._kinds import KINDS, scaled
from metaphys.training.unit._findings import wilson
from metaphys.training.unit._results import TrainedRun, read_trained

HERE = Path(__file__).parent
PUBLISHED = {
    ("plate", "mnist"): {"measured plate, Wright, Onodera et al. 2022": 0.87},
    ("circuit", "mnist"): {"measured circuit, Wright, Onodera et al. 2022": 0.93},
    ("shg", "vowels"): {"measured SHG, five layers, Wright, Onodera et al. 2022": 0.93},
}
"""Accuracies of the same system on the same data, elsewhere and on other units."""


def collect(
    runs: Sequence[TrainedRun], *, called: str | None = None, command: str | None = None
) -> dict[str, Any]:
    """What is stored of some runs.

    Args:
        runs: finished ones.
        called: the name of the experiment; after what was trained by default.
        command: what made them; by default the first run's.

    Raises:
        ValueError: a quick run, runs that differ in more than seed and unit, or one run twice.
    """
    first = runs[0]
    essence = [_essence(run) for run in runs]
    places = [(run.config.seed, run.config.unit) for run in runs]
    if any(run.config.short for run in runs):
        raise ValueError("`runs` must be of more steps, but got a quick run, which shows nothing.")
    if any(each != essence[0] for each in essence) or len(set(places)) < len(places):
        raise ValueError("`runs` must differ in seed or unit, and in nothing else.")
    values = [run.own["accuracy"] for run in runs]
    count = first.summary["judged"]
    half = half_interval(values)
    notes = [
        f"{first.own['device_calls']:,} device calls, {first.config.steps} steps of "
        f"{first.config.batch} samples, {first.config.layers} layers.",
        _mismatch(first),
        _twins(runs),
    ]
    baselines = _baselines(runs)
    if baselines["linear classifier"] > math.fsum(values) / len(values):
        notes.append("A linear classifier on the same inputs does better.")
    if half is None:
        low, high = wilson(values[0], count)
        notes.append(
            f"One unit, one seed: {low:.3f} to {high:.3f} is the 95 % interval for {count} test "
            "samples alone; nothing is known about other units and seeds."
        )
    return {
        "experiment": called or name(first),
        "command": command or first.environment.get("command", "unknown"),
        "commit": first.environment.get("revision", "unknown"),
        "torch": first.environment.get("torch", "unknown"),
        "seeds": [run.config.seed for run in runs],
        "units": [run.config.unit for run in runs],
        "metric": f"test accuracy on the unit, of {count} samples",
        "values": values,
        "mean": math.fsum(values) / len(values),
        "interval": half,
        "published": PUBLISHED.get((first.config.system, first.config.data)),
        "baselines": baselines,
        "physical_parameters": first.summary["physical_parameters"],
        "digital_parameters": first.summary["digital_parameters"],
        "seconds": [round(math.fsum(run.summary["seconds"].values()), 1) for run in runs],
        "notes": notes,
    }


def aim(mean: float, least: float) -> str:
    """Whether a mean is what was meant to be reached."""
    return f"Meant are {least:.1%} or more: {'reached' if mean >= least else 'NOT reached'}."


def name(run: TrainedRun) -> str:
    """The name of an experiment, and of its file."""
    config = run.config
    device = [] if config.device == "simulated" else [config.device]
    return "-".join([config.system, *device, config.data, config.rule])


def _mismatch(run: TrainedRun) -> str:
    config = run.config
    spread = scaled(KINDS[config.system].spread, config.spread)
    noise = "no noise" if not config.noise else f"an SNR of {-20 * math.log10(config.noise):.3g} dB"
    return f"Units are drawn from {spread} and read out with {noise}."


def _twins(runs: Sequence[TrainedRun]) -> str:
    fits = [run.summary.get("twin") for run in runs]
    found = [fit for fit in fits if fit is not None]
    if not found:
        return "The twin is the nominal system, not one that was fitted to the unit."
    before, after = (
        [100 * error for fit in found for error in fit[when]] for when in ("before", "after")
    )
    return (
        f"Twins were fitted first, with {found[0]['calls']} of the calls: on fresh drives the "
        f"nominal ones are {min(before):.1f} to {max(before):.1f} % off, the fitted ones "
        f"{min(after):.1f} to {max(after):.1f} %, noise included."
    )


def _essence(run: TrainedRun) -> dict[str, Any]:
    alike = ("seed", "unit", "threads", "data_root")
    return {key: value for key, value in run.config.to_json().items() if key not in alike}


def _baselines(runs: Sequence[TrainedRun]) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for run in runs:
        for row in run.rows:
            if row["method"] != run.config.rule:
                found.setdefault(row["method"], []).append(row["accuracy"])
    return {method: math.fsum(of) / len(of) for method, of in found.items()}


def main() -> None:
    """Read, store, print."""
    if len(sys.argv) < 2:
        sys.exit("usage: python docs/results/trained.py RUN_DIR [RUN_DIR ...]")
    result = collect([read_trained(Path(run)) for run in sys.argv[1:]])
    text = json.dumps(result, indent=2) + "\n"
    (HERE / f"{result['experiment']}.json").write_text(text)
    print(text, end="")


if __name__ == "__main__":
    main()
