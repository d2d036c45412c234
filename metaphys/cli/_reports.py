"""Who writes the report of which runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from metaphys.training._command import command_of

WRITERS = {
    "meta-train": "metaphys.training._report",
    "train": "metaphys.training.unit._report",
    "drift": "metaphys.training.drifting._report",
    "recalibrate": "metaphys.training.recalibration._report",
    "rl": "metaphys.rl._report",
}
"""By command, the module that has it."""


def writer(runs: Sequence[str | Path]) -> Callable[[Sequence[str | Path], str | Path | None], Path]:
    """What writes the report of some runs: from them and a place to the file.

    Raises:
        ValueError: runs of two commands, or a damaged run.
    """
    return import_module(WRITERS[command_of(runs)]).write_report
