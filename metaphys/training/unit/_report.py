"""The report of training one unit, or of several such runs: one HTML file with its pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metaphys._runs._page import drawn, write_sections
from metaphys.training._findings import points
from metaphys.training.unit._config import TrainConfig
from metaphys.training.unit._findings import interval, sentences
from metaphys.training.unit._results import TrainedRun, read_trained

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PICTURES = {
    "learning": "Above: the loss of each thing that was trained, as a running mean; of the rule "
    "single steps are thin. Below: the accuracy on the unit, noise included, on {looked_at} "
    "samples; the lines are the baselines on the test set, in the same colours.",
    "confusion": "Test samples by their class and by the class that the unit told; the shade is "
    "the share of a row.",
    "response": "Unit and twin on the same drives, those of test sample {sample} on its way "
    "through the trained network. The error is the norm of the difference over that of the unit's "
    "readout about its mean.",
    "way": "Test sample {sample} on its way: what drives each layer, what the unit answers, what "
    "becomes of it.",
}
"""Name and caption of each picture."""

NOTES = {
    "pat": "physics-aware training: measured forward, the {twin} twin's derivatives",
    "in-silico": "trained on the {twin} twin, then judged on the unit",
    "spsa": "simultaneous perturbation: differences of measured losses, no twin",
    "dfa": "direct feedback alignment with a trained linear layer at the end, no twin",
    "linear classifier": "logistic regression on the same inputs",
    "in silico": "trained on the nominal twin, then judged on the unit",
    "in silico on the fitted twin": "as many steps on the twin that was fitted to the unit",
    "exact gradient": "through the simulated unit itself, which no experiment has",
    "physics removed": "a wire in the place of each layer's physics; all else is the same",
}


TEMPLATE = Path(__file__).with_name("report.html")


def write_report(runs: Sequence[str | Path], output: str | Path | None = None) -> Path:
    """Write the report of finished runs, one after the other.

    Args:
        runs: run directories of ``metaphys train``.
        output: the file to write, or a directory for ``report.html``; the first run's by default.

    Returns:
        The file. Its pictures also lie in ``pictures/`` beside it.

    Raises:
        FileNotFoundError: a directory holds no results.
        ValueError: results are damaged.
    """
    results = [read_trained(Path(run)) for run in runs]
    return write_sections(TEMPLATE, [(run.path, run) for run in results], _section, output)


def _section(run: TrainedRun, folder: Path, prefix: str) -> dict[str, Any]:
    """All that the template shows of a run."""
    config, judged = run.config, run.summary["judged"]
    own = f"{config.rule} on unit {config.unit} of {config.system}, {config.data}"
    return {
        "title": own,
        "quick": config.short,
        "config": config,
        "findings": sentences(run),
        "methods": [_method(row, judged, config) for row in run.rows],
        "pictures": _draw(run, folder, prefix),
        "options": config.to_json(),
        "run": run,
    }


def _method(row: Any, judged: int, config: TrainConfig) -> dict[str, Any]:
    return {
        "name": row["method"],
        "note": NOTES.get(row["method"], "").format(twin=config.twin),
        "accuracy": points(row["accuracy"]),
        "interval": interval(row, judged).partition(" ")[2].strip("()"),
        "device_calls": f"{row['device_calls']:,}",
        "own": row["method"] == config.rule,
    }


def _draw(run: TrainedRun, folder: Path, prefix: str) -> list[tuple[str, str]]:
    """Every picture."""
    from metaphys.training.unit import _pictures

    way = run.summary["way"]
    figures: dict[str, Callable[[], Figure]] = {
        "learning": lambda: _pictures.learning(run),
        "confusion": lambda: _pictures.confusion(run.summary["confusion"]),
        "response": lambda: _pictures.response(way),
        "way": lambda: _pictures.way_through(way),
    }
    words = {"sample": way["sample"], "looked_at": run.summary["looked_at"]}
    captions = {name: caption.format(**words) for name, caption in PICTURES.items()}
    return drawn(captions, figures, folder, prefix)
