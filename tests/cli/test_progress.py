"""Progress in a terminal and outside of one."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console
from rich.progress import Progress as RichProgress

from metaphys.cli._progress import Bars, Lines, shown


def test_lines_say_when_a_phase_begins_how_far_it_is_and_when_it_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    stream = io.StringIO()
    with Lines(stream).phase("training", 40) as advance:
        advance(20)  # Resumed: these took none of our time.
        for done in range(21, 41):
            now += 1.5
            advance(done)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "training: 20/40"
    assert lines[1] == "training: 27/40, 10 s, 20 s to go"
    assert lines[-1] == "training: done in 30.0 s"
    assert len(lines) == 4


def test_a_phase_that_fails_does_not_say_that_it_is_done() -> None:
    stream = io.StringIO()
    with pytest.raises(KeyboardInterrupt), Lines(stream).phase("training", 4) as advance:
        advance(0)
        raise KeyboardInterrupt
    assert stream.getvalue() == "training: 0/4\n"


def test_no_escape_codes_where_there_is_no_terminal() -> None:
    stream = io.StringIO()
    with shown(stream) as progress, progress.phase("training", 2) as advance:
        advance(2)
    assert "\x1b" not in stream.getvalue()
    assert "done" in stream.getvalue()


def test_bars_show_every_phase_with_its_count() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    with RichProgress(console=console, auto_refresh=False) as bars:
        progress = Bars(bars)
        with progress.phase("first", 10) as advance:
            advance(4)
            assert bars.tasks[0].completed == 4
            assert bars.tasks[0].speed is None  # What was resumed says nothing about speed.
            advance(10)
        with progress.phase("second", 5) as advance:
            advance(0)
    assert [(task.description, task.completed) for task in bars.tasks] == [
        ("first", 10),
        ("second", 0),
    ]
    assert bars.tasks[0].finished
    assert re.search("first.*100%", console.file.getvalue())  # type: ignore[attr-defined]
