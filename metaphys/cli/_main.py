"""Parse, run, and turn every way to fail into one line and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from metaphys.cli._failures import device_failed, explain, installed_or_refuse
from metaphys.cli._signals import Terminated, signals
from metaphys.version import __version__

if TYPE_CHECKING:  # tyro, which it needs, may not be installed
    from metaphys.cli._base import Command

DEBUG = "METAPHYS_DEBUG"
RESUMABLE = {"meta-train", "train", "recalibrate", "drift", "rl"}
USER_ERROR = 2
PIPE_CLOSED = 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: what follows the program's name; that of the process by default.

    Returns:
        0, or 2 for a user's error, 130 after Ctrl-C, 143 after SIGTERM.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given == ["--version"]:  # asked of every program; `metaphys info` says more
        print(f"metaphys {__version__}")
        return 0
    debug = "--debug" in given or os.environ.get(DEBUG, "") not in ("", "0")
    _survive_narrow_encodings()
    command: Command | None = None
    try:
        with signals():
            command = _parsed(given)
            command.run()
        return 0
    except KeyboardInterrupt as stop:
        return _stopped(stop, _again(command, given))
    except BrokenPipeError:
        # Whoever read our output has gone, as `head` does; the interpreter must not flush again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except Exception as error:
        message = explain(error)
        if debug or message is None:
            raise
        print(f"error: {message}", file=sys.stderr)
        if again := _again(command, given) if device_failed(error) else "":
            print(f"the run is stored. Go on with:\n  {again}", file=sys.stderr)
        return USER_ERROR


def _parsed(given: list[str]) -> Command:
    installed_or_refuse()
    from metaphys.cli._commands import parse

    return parse(given)


def _again(command: Command | None, given: list[str]) -> str:
    """How to go on, where there is something to go on from."""
    there = command is not None and command.stored
    return " ".join(resume_command(given)) if there else ""


def _stopped(stop: KeyboardInterrupt, again: str) -> int:
    if again:
        print(f"\nstopped; the run is stored. Go on with:\n  {again}", file=sys.stderr)
    else:
        print("\nstopped.", file=sys.stderr)
    return 143 if isinstance(stop, Terminated) else 130


def resume_command(given: list[str]) -> list[str]:
    """The command that continues what ``given`` began; empty if there is nothing to continue.

    Example:
        >>> resume_command(["meta-train", "--overwrite", "--seed", "1"])
        ['metaphys', 'meta-train', '--seed', '1', '--resume']
        >>> resume_command(["info"])
        []
    """
    import shlex

    if not set(given[:1]) & RESUMABLE:
        return []
    kept = [shlex.quote(word) for word in given if word not in ("--overwrite", "--resume")]
    return ["metaphys", *kept, "--resume"]


def _survive_narrow_encodings() -> None:
    """A terminal that knows no ± gets a question mark rather than a traceback."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")
