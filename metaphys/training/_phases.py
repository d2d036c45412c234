"""The phases of a run: each stored, continued by itself, timed, and shown to a person."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from metaphys._runs import Progress, RunDirectory
from metaphys.training._loop import Loop


class Phases:
    """The phases of a run.

    Args:
        run: where they are stored.
        progress: what a person sees meanwhile.

    Attributes:
        curves: of each outer loop, its steps and losses.
        seconds: that each phase took this time.
    """

    def __init__(self, run: RunDirectory, progress: Progress) -> None:
        self._run, self._progress = run, progress
        self.curves: dict[str, dict[str, list[float]]] = {}
        self.seconds: dict[str, float] = {}

    def run(self, name: str, state: Any, step: Callable[[Any, int], Any], steps: int) -> Any:
        """The state after ``steps`` steps; a phase that was finished is read."""
        with self.timed(name), self._progress.phase(name, steps) as advance:
            place = name.replace(" ", "-")
            return self._run.run_phase(place, state, step, steps, advance=advance)

    def outer(self, name: str, start: Loop, step: Callable[[Loop, int], Loop], steps: int) -> Any:
        """One outer loop; what it learned, or the best of it where it was scored."""
        end = self.run(name, start, step, steps)
        losses = end.losses[:steps].tolist()
        self.curves[name] = {"step": list(range(1, steps + 1)), "loss": losses}
        return end.learned if end.score < 0 else end.best

    @contextmanager
    def shown(self, name: str, steps: int) -> Iterator[Callable[[int], None]]:
        """What is not stored: timed and shown."""
        with self.timed(name), self._progress.phase(name, steps) as advance:
            yield advance

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Keep what this takes, in s."""
        began = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - began, 2)
