"""Random streams that belong to one unit, whatever batch it is drawn in."""

from __future__ import annotations

import hashlib

import torch


def stream(seed: int, name: str) -> torch.Generator:
    """A CPU generator for (``seed``, ``name``): other names give independent streams.

    Hashed, because neighbouring seeds would otherwise share much of their initial state.

    Example:
        >>> first, second = stream(3, "noise"), stream(3, "noise")
        >>> bool(torch.rand(2, generator=first).equal(torch.rand(2, generator=second)))
        True
    """
    return torch.Generator().manual_seed(derived(seed, name))


def derived(seed: int, name: str) -> int:
    """A seed (63 bits) for ``name`` that belongs to ``seed``.

    Example:
        >>> derived(3, "a") == derived(3, "a"), derived(3, "a") == derived(3, "b")
        (True, False)
    """
    digest = hashlib.sha256(f"metaphys:{name}:{seed}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
