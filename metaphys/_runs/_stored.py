"""What a run directory says of its run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from metaphys._errors import check

KIND = "metaphys run"


def read_config(path: str | Path) -> dict[str, Any]:
    """The ``config.json`` of a run directory: keys ``config`` and ``environment``.

    Raises:
        ValueError: it is missing, damaged, or not of metaphys.

    Example:
        >>> import tempfile
        >>> from metaphys.training import RunDirectory
        >>> run = RunDirectory(tempfile.mkdtemp(), {"seed": 0})
        >>> read_config(run.path)["config"]
        {'seed': 0}
    """
    file = Path(path) / "config.json"
    try:
        stored = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(
            f"`run_dir` must hold a readable config.json, but got {file} ({error}). Choose another "
            "directory, or delete this one yourself."
        ) from error
    fits = isinstance(stored, dict) and stored.get("kind") == KIND
    parts = (stored.get("config"), stored.get("environment", {})) if fits else (None,)
    check(
        all(isinstance(part, dict) for part in parts),
        "run_dir",
        expected="a directory that holds a run of metaphys",
        got=f"{path}, whose config.json is something else",
        remedy="Choose another one.",
    )
    return stored


def read_json(path: Path) -> dict[str, Any]:
    """An object from a file; empty if there is no file, as in a run of an older version.

    Raises:
        ValueError: the file is damaged, or holds something else.

    Example:
        >>> read_json(Path("nowhere.json"))
        {}
    """
    if not path.exists():
        return {}
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(
            f"`run_dir` must hold readable files, but {path} is not: {error}."
        ) from error
    check(isinstance(value, dict), path.name, expected="a JSON object", got=type(value).__name__)
    return value
