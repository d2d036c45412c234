"""SIGTERM ends a run as Ctrl-C does: what there is gets stored first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Terminated(KeyboardInterrupt):
    """The process was asked to end by SIGTERM."""


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


@contextmanager
def signals() -> Iterator[None]:
    """Raise :class:`Terminated` on SIGTERM and ``KeyboardInterrupt`` on SIGINT, inside."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Only the main thread can handle signals.
        return
    before = {
        signal.SIGTERM: signal.signal(signal.SIGTERM, _terminate),
        # A shell that starts us in the background has SIGINT ignored; it is meant when it comes.
        signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler),
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
