"""The table of a run that is judged on units: one row for each method, seed and unit."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from metaphys._errors import check, refuse

METRICS = ("method", "seed", "unit", "labels", "device_calls", "accuracy")
"""The columns of its ``metrics.csv``."""

REAL = ("accuracy", "before", "after")
"""Columns of real numbers, where there are such; the last two are returns of ``metaphys rl``."""


def read_metrics(path: Path, columns: Sequence[str] = METRICS) -> list[dict[str, Any]]:
    """The rows of a ``metrics.csv``, with numbers as numbers.

    Args:
        path: the file.
        columns: that it has to have; all but ``method`` and those of :data:`REAL` hold integers.

    Raises:
        FileNotFoundError: there is none.
        ValueError: a column is missing, or a value is no number.

    Example:
        >>> import tempfile
        >>> from metaphys.training import RunDirectory
        >>> run = RunDirectory(tempfile.mkdtemp(), {"seed": 0})
        >>> row = {"method": "meta-learned", "seed": 0, "unit": 20000, "labels": 50}
        >>> run.write_metrics([{**row, "device_calls": 250, "accuracy": 0.9}])
        >>> read_metrics(run.path / "metrics.csv")[0]["accuracy"]
        0.9
    """
    if not path.is_file():
        refuse(
            "run_dir",
            expected="a directory with a metrics.csv",
            got=path.parent,
            remedy="`metaphys meta-train` and `train` make one; an unfinished run goes on with "
            "--resume.",
            error=FileNotFoundError,
        )
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        missing = set(columns) - set(reader.fieldnames or ())
        check(not missing, "metrics.csv", expected=f"with the columns {columns}", got=path)
        return [_numbers(row, columns, path, line) for line, row in enumerate(reader, start=2)]


def _numbers(row: dict[str, str], columns: Sequence[str], path: Path, line: int) -> dict[str, Any]:
    kinds: dict[str, type] = {"method": str, **dict.fromkeys(REAL, float)}
    try:
        return {name: kinds.get(name, int)(row[name]) for name in columns}
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"`metrics.csv` has no number where one is expected: {path}, line {line}: {error}."
        ) from error
