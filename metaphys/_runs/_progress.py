"""How a long computation tells how far it is, without knowing who listens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Advance = Callable[[int], None]
"""Takes the number of steps that are done, not how many were added."""


class Progress(Protocol):
    """Listens to the phases of a run.

    Example:
        >>> from metaphys.training import Progress
        >>> class Printing:
        ...     def phase(self, name, steps):
        ...         print(name, steps)
        ...         return contextmanager(lambda: (yield print))()
    """

    def phase(self, name: str, steps: int) -> AbstractContextManager[Advance]:
        """Enter a phase of ``steps`` steps; what is yielded is called as they get done.

        The first call may already be above zero: that part was done before a run was resumed.
        """
        ...


class Silent:
    """Progress that nobody sees.

    Example:
        >>> with Silent().phase("training", 10) as advance:
        ...     advance(1)
    """

    @contextmanager
    def phase(self, name: str, steps: int) -> Iterator[Advance]:
        """As :meth:`Progress.phase`."""
        yield lambda done: None
