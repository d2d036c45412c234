"""What a figure depends on beside the configuration."""

from __future__ import annotations

import platform
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from metaphys import ops


def environment() -> dict[str, Any]:
    """What a figure depends on beside the configuration."""
    return {
        "command": shlex.join([*_program(Path(sys.argv[0])), *sys.argv[1:]]),
        "revision": _revision(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "kernels": ops.status().reason,
        "machine": platform.machine(),
        "system": platform.system(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def _program(path: Path) -> list[str]:
    """What was typed: a script, or ``python -m`` and a package."""
    return ["python", "-m", "metaphys.cli"] if path.name == "__main__.py" else [path.name]


def _revision() -> str:
    """The git revision of the source, or "unknown" outside a checkout."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return found.stdout.strip() or "unknown"
