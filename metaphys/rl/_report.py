"""The report of meta-reinforcement learning, or of several such runs: one HTML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metaphys._runs._page import drawn, write_sections
from metaphys.rl._results import RLRun, read_rl

TEMPLATE = Path(__file__).with_name("report.html")
PICTURES = {
    "comparison": "Return on test tasks after adapting. A mark is a seed; the upright lines are "
    "what can be known of these tasks.",
    "learning": "Return on fresh tasks after adapting, while it was meta-trained: each seed thin, "
    "the mean strong. Below, the upper end enlarged.",
}
"""Name and caption of each picture."""


def write_report(runs: Sequence[str | Path], output: str | Path | None = None) -> Path:
    """Write the report of finished runs, one after the other.

    Args:
        runs: run directories of ``metaphys rl``.
        output: the file to write, or a directory for ``report.html``; the first run's by default.

    Returns:
        The file. Its pictures also lie in ``pictures/`` beside it.

    Raises:
        FileNotFoundError: a directory holds no results.
        ValueError: results are damaged.
    """
    results = [read_rl(Path(run)) for run in runs]
    return write_sections(TEMPLATE, [(run.path, run) for run in results], _section, output)


def _section(run: RLRun, folder: Path, prefix: str) -> dict[str, Any]:
    """All that the template shows of a run."""
    from matplotlib import rc_context

    from metaphys._runs._drawing import SETTINGS
    from metaphys.rl import _pictures

    figures = {
        "comparison": lambda: _pictures.comparison(run.summary),
        "learning": lambda: _pictures.learning(run.rows, run.summary),
    }
    with rc_context(SETTINGS):
        pictures = drawn(PICTURES, figures, folder, prefix)
    return {
        "quick": run.quick,
        "config": run.config,
        "findings": sentences(run),
        "methods": [_method(name, of) for name, of in run.summary["methods"].items()],
        "lines": [(name, returned(of)) for name, of in run.summary["lines"].items()],
        "pictures": pictures,
        "options": run.config,
        "run": run,
    }


def _method(name: str, of: Mapping[str, Any]) -> dict[str, Any]:
    columns = {key: returned(of[key]) for key in ("untrained", "before", "during", "after")}
    return {
        "name": name,
        "about": of["about"],
        "seconds": f"{of['seconds']['mean']:.0f}",
        **columns,
    }


def sentences(run: RLRun) -> list[str]:
    """The findings of a run, the most important first."""
    if run.quick:
        return [
            "This was a quick run: it shows that all of it works. With so few steps and tasks its "
            "figures mean nothing."
        ]
    after = {name: of["after"] for name, of in run.summary["methods"].items()}
    lines, best = run.summary["lines"], max(after, key=lambda name: after[name]["mean"])
    others = "; ".join(f"{n} {returned(after[n])}" for n in after if n != best)
    seeds = f"{run.seeds} seed{'s' if run.seeds != 1 else ''}"
    return [
        f"On tasks never seen, the adapted policy of {best} returns {returned(after[best])} "
        f"({seeds}); the best policy of each task {returned(lines['optimal'])}, one at random "
        f"{returned(lines['random'])}.",
        f"A planner that knows how tasks are drawn returns {returned(lines['planner'])} from as "
        "many trajectories of a random policy.",
        *([f"Beside it: {others}."] if others else []),
    ]


def returned(of: Mapping[str, Any]) -> str:
    """A mean over seeds, with half of its 95 % interval where there are several.

    Example:
        >>> returned({"mean": 20.437, "half": 0.024}), returned({"mean": 10.2, "half": None})
        ('20.44 ± 0.02', '10.20')
    """
    half = "" if of["half"] is None else f" ± {of['half']:.2f}"
    return f"{of['mean']:.2f}{half}"
