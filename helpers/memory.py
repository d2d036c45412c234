"""How much memory tensors take, measured while a program runs."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class PeakMemory(TorchDispatchMode):
    """``with PeakMemory() as memory:`` counts the bytes of all tensors that are made inside.

    A storage counts from the operation that makes it until nobody holds it any more, whatever
    tensors share it. What an operator allocates and frees by itself is not seen.

    Attributes:
        now: bytes of the storages made inside that are alive.
        peak: the greatest ``now`` so far.

    Example:
        >>> with PeakMemory() as memory:
        ...     kept = torch.zeros(1000, dtype=torch.float32)
        ...     _ = kept + 1                          # a second one, gone after the next line
        ...     _ = kept.view(10, 100)                # no memory of its own
        >>> memory.peak, memory.now
        (8000, 4000)
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._alive: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operation and count what it made."""
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self._count(leaf.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self._alive:
            self._alive.add(key)
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        self._alive.discard(key)
        self.now -= size
