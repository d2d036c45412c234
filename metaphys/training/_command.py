"""Which command left a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metaphys._errors import check
from metaphys._runs import read_config


def command_of(runs: Sequence[str | Path]) -> str:
    """The command that left some runs; ``"meta-train"`` where none of them is there.

    Raises:
        ValueError: runs of two commands, or a damaged run.

    Example:
        >>> import tempfile
        >>> from metaphys.training import RunDirectory, TrainConfig
        >>> run = RunDirectory(tempfile.mkdtemp(), TrainConfig().to_json())
        >>> command_of([run.path])
        'train'
    """
    found = {
        _command(read_config(Path(run))["config"])
        for run in runs
        if (Path(run) / "config.json").is_file()
    }
    check(
        len(found) < 2,
        "run_dir",
        expected="of one command",
        got=f"runs of {' and of '.join(sorted(found))}",
        remedy="Write a report of each.",
    )
    return next(iter(found), "meta-train")


_TELLING = {"rule": "train", "methods": "rl", "budgets": "recalibrate", "walk": "drift"}
"""An option that no other command has."""


def _command(config: Mapping[str, Any]) -> str:
    return next((_TELLING[name] for name in _TELLING if name in config), "meta-train")
