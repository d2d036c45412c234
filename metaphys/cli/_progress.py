"""Progress for a person: bars in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress

from metaphys._runs import Advance, Progress

EVERY_SECONDS = 10.0
"""How often a phase writes a line where there is no terminal."""


@contextmanager
def shown(stream: TextIO | None = None) -> Iterator[Progress]:
    """Progress on standard error, so that standard output holds the results alone."""
    lines: TextIO = sys.stderr if stream is None else stream
    console = Console(file=lines)
    if not console.is_terminal:
        yield Lines(lines)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with RichProgress(*columns, console=console, expand=True) as bars:
        yield Bars(bars)


class Bars:
    """One bar a phase, with the time it took and the time it will take."""

    def __init__(self, bars: RichProgress) -> None:
        self._bars = bars

    @contextmanager
    def phase(self, name: str, steps: int) -> Iterator[Advance]:
        """As :meth:`metaphys.training.Progress.phase`."""
        task = self._bars.add_task(name, total=steps)
        started = False

        def advance(done: int) -> None:
            nonlocal started
            if started:
                self._bars.update(task, completed=done)
            else:
                # What was done before a run was resumed says nothing about the speed.
                self._bars.reset(task, completed=done)
            started = True

        yield advance


class Lines:
    """A line when a phase begins, now and then, and when it ends."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    @contextmanager
    def phase(self, name: str, steps: int) -> Iterator[Advance]:
        """As :meth:`metaphys.training.Progress.phase`."""
        began = said = time.monotonic()
        first: int | None = None

        def advance(done: int) -> None:
            nonlocal first, said
            now = time.monotonic()
            if first is None:
                first = done
                self._say(f"{name}: {done}/{steps}")
            elif now - said >= EVERY_SECONDS and done < steps:
                said = now
                left = (now - began) * (steps - done) / max(done - first, 1)
                self._say(f"{name}: {done}/{steps}, {now - began:.0f} s, {left:.0f} s to go")

        yield advance
        self._say(f"{name}: done in {time.monotonic() - began:.1f} s")

    def _say(self, text: str) -> None:
        print(text, file=self._stream, flush=True)
