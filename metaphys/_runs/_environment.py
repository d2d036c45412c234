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
        "revision": revision(Path(__file__).parent),
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
    return ["python", "-m", "metaphys"] if path.name == "__main__.py" else [path.name]


def revision(folder: Path) -> str:
    """The git revision of the source in a folder, or "unknown" outside a checkout.

    "-dirty" where the working tree has other code; what scripts write (figures, pages and
    pictures) is no code.
    """
    commit = _git(folder, "rev-parse", "--short", "HEAD")
    written = [f":(top,exclude)*.{kind}" for kind in ("json", "md", "svg", "png")]
    other = _git(folder, "diff", "--name-only", "HEAD", "--", ":(top)", *written)
    return f"{commit}-dirty" if other else commit or "unknown"


def _git(folder: Path, *arguments: str) -> str:
    """What git says; nothing where it does not know, or is not there."""
    try:
        found = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip()
