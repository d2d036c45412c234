"""Runs that are stopped and go on, for the tests of every experiment that can be resumed."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Stores after every step, and dies after the first that it stores of the phase that it is told.
DYING = """
import os, signal, sys
from metaphys._runs import RunDirectory
run_phase, store = RunDirectory.run_phase, RunDirectory._store
def often(self, *args, **options):
    return run_phase(self, *args, **{**options, "every_seconds": -1.0})
def once(self, file, index, state):
    store(self, file, index, state)
    if [file.stem] == sys.argv[2:]:
        os.kill(os.getpid(), signal.SIGKILL)
RunDirectory.run_phase, RunDirectory._store = often, once
"""


def killed_and_resumed(code: str, path: Path, *phases: str) -> None:
    """Run ``code``, which makes or resumes a run at ``sys.argv[1]``; it is killed in each phase.

    Then it is run again to its end.
    """
    command = [sys.executable, "-W", "ignore", "-c", DYING + code, str(path)]
    for phase in phases:
        assert subprocess.run([*command, phase], timeout=120).returncode == -signal.SIGKILL
        stored = path / "checkpoints" / f"{phase}.safetensors"
        assert stored.exists() and not stored.with_suffix(".done").exists()
    subprocess.run(command, check=True, timeout=120)


def finished_in_parts(run: Callable[[bool], Any]) -> tuple[Any, int]:
    """What ``run(resume)`` returns in the end, and how often it was interrupted before."""
    interruptions = 0
    while True:
        try:
            return run(interruptions > 0), interruptions
        except KeyboardInterrupt:
            interruptions += 1


def failing_at_every(count: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """``function``, interrupted instead of called every so many times."""
    calls = 0

    def interrupting(*given: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls % count == 0:
            raise KeyboardInterrupt
        return function(*given)

    return interrupting
