"""Which command left a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metaphys._errors import check
from metaphys._runs import read_config

REPORTED = ("meta-train", "train", "drift")
"""Commands whose runs have a report."""


def command_of(runs: Sequence[str | Path]) -> str:
    """The command that left some runs; ``"meta-train"`` where none of them is there.

    Raises:
        ValueError: runs of two commands, of one without reports, or a damaged run.

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
    check(
        found <= {*REPORTED},
        "run_dir",
        expected=f"a run of {' or '.join(REPORTED)}",
        got=f"one of {''.join(found)}",
        remedy="Its figures are in its directory already, in metrics.csv and summary.json.",
    )
    return next(iter(found), "meta-train")


_TELLING = {"rule": "train", "methods": "rl", "budgets": "recalibrate", "walk": "drift"}
"""An option that no other command has."""


def _command(config: Mapping[str, Any]) -> str:
    return next((_TELLING[name] for name in _TELLING if name in config), "meta-train")
