"""Running a stretch of a program again so that it takes the same from outside as the first time.

What recomputes a forward pass (a checkpointed unroll) has to see the same random numbers, the same
autocast and the same measurements. Random numbers are kept here; a layer that takes anything else
from outside registers a pair of contexts, and what recomputes never needs to know that layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sized
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, final

import torch

Contexts = Callable[[], tuple[AbstractContextManager[Sized], AbstractContextManager[Any]]]

_SOURCES: list[Contexts] = []


def register(contexts: Contexts) -> None:
    """Have every recomputation record and replay one more source.

    Args:
        contexts: makes a pair of contexts (record, replay) that share a store. Entering record
            gives the store, empty; replay is entered once for each recomputation.
    """
    _SOURCES.append(contexts)


@final
class Recording:
    """What one stretch of a program took from outside.

    Args:
        random: keep random numbers and autocast too, not only what was registered. Generators
            that are passed around explicitly are their owner's affair.

    Example:
        >>> recording = Recording()
        >>> with recording.record():
        ...     first = torch.rand(2)
        >>> with recording.replay():
        ...     again = torch.rand(2)
        >>> bool(first.equal(again))
        True
    """

    def __init__(self, *, random: bool = True) -> None:
        self._pairs = [contexts() for contexts in _SOURCES]
        self._stores: list[Sized] = []
        self._random = random
        self._states: list[tuple[str, torch.Tensor]] = []
        self._autocast: list[tuple[str, bool, torch.dtype]] = []

    @contextmanager
    def record(self) -> Iterator[None]:
        """Store what is taken inside."""
        if self._random:
            self._states = [(kind, _generator(kind).get_state()) for kind in _kinds()]
            self._autocast = [
                (kind, torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind))
                for kind in _kinds()
            ]
        with ExitStack() as stack:
            self._stores = [stack.enter_context(record) for record, _ in self._pairs]
            yield

    @property
    def taken(self) -> int:
        """How much was taken from registered sources."""
        return sum(len(store) for store in self._stores)

    @contextmanager
    def replay(self) -> Iterator[None]:
        """Give the same again, and leave the random numbers outside as they were."""
        with ExitStack() as stack:
            stack.enter_context(random_untouched())
            for _, replay in self._pairs:
                stack.enter_context(replay)
            for kind, enabled, dtype in self._autocast:
                # The cache would keep casts made without a graph, or with another one.
                stack.enter_context(
                    torch.autocast(kind, dtype=dtype, enabled=enabled, cache_enabled=False)
                )
            for kind, state in self._states:
                _generator(kind).set_state(state)
            yield


@contextmanager
def random_untouched() -> Iterator[None]:
    """Leave the global random numbers after it as if nothing inside had drawn any."""
    states = [(kind, _generator(kind).get_state()) for kind in _kinds()]
    try:
        yield
    finally:
        for kind, state in states:
            _generator(kind).set_state(state)


def _kinds() -> list[str]:
    return ["cpu", "cuda"] if torch.cuda.is_initialized() else ["cpu"]


def _generator(kind: str) -> torch.Generator:
    if kind == "cuda":
        return torch.cuda.default_generators[torch.cuda.current_device()]
    return torch.default_generator
