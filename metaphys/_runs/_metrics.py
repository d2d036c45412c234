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


def read_metrics(path: str | Path, columns: Sequence[str] = METRICS) -> list[dict[str, Any]]:
    """The rows of a ``metrics.csv``, with numbers as numbers.

    Args:
        path: the file.
        columns: that it has to have; all but ``method`` and those of :data:`REAL` hold integers.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it cannot be read or has no rows, a column is missing, a value is no number, or
            an accuracy no fraction.

    Example:
        >>> import tempfile
        >>> from metaphys.training import RunDirectory
        >>> run = RunDirectory(tempfile.mkdtemp(), {"seed": 0})
        >>> row = {"method": "meta-learned", "seed": 0, "unit": 20000, "labels": 50}
        >>> run.write_metrics([{**row, "device_calls": 250, "accuracy": 0.9}])
        >>> read_metrics(run.path / "metrics.csv")[0]["accuracy"]
        0.9
    """
    path = Path(path)
    if not path.is_file():
        refuse(
            "run_dir",
            expected="a directory with a metrics.csv",
            got=path.parent,
            remedy="`metaphys meta-train` and `train` make one; an unfinished run goes on with "
            "--resume.",
            error=FileNotFoundError,
        )
    try:
        with path.open(newline="") as file:
            reader = csv.DictReader(file)
            missing = set(columns) - set(reader.fieldnames or ())
            found = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"`metrics.csv` must be readable, but {path} is not: {error}.") from error
    check(not missing, "metrics.csv", expected=f"with the columns {columns}", got=path)
    remedy = "Delete the run and start it again."
    check(len(found) > 0, "metrics.csv", expected="of some rows", got=path, remedy=remedy)
    return [_numbers(row, columns, path, line) for line, row in enumerate(found, start=2)]


def _numbers(row: dict[str, str], columns: Sequence[str], path: Path, line: int) -> dict[str, Any]:
    kinds: dict[str, type] = {"method": str, **dict.fromkeys(REAL, float)}
    try:
        found = {name: kinds.get(name, int)(row[name]) for name in columns}
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"`metrics.csv` has no number where one is expected: {path}, line {line}: {error}."
        ) from error
    accuracy, got = found.get("accuracy", 0.0), f"{path}, line {line}"
    fits = 0 <= accuracy <= 1
    check(fits, "metrics.csv", expected="of accuracies from 0 to 1", got=f"{accuracy} in {got}")
    return found
