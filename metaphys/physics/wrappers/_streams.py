"""Random numbers of the units of a fleet, each from a stream of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor

from metaphys._errors import check
from metaphys.physics._seeds import stream


@final
class Streams:
    """One random stream a unit, so that a unit draws the same alone and in a fleet.

    Args:
        units: those of the device.
        seed: integer seed, or one for each unit; an integer s stands for s, s + 1, …
        name: what they are for; streams of other names are independent.

    Raises:
        ValueError: another number of seeds than units.
    """

    def __init__(self, units: tuple[int, ...], seed: int | Sequence[int], name: str) -> None:
        count = math.prod(units)
        seeds = range(seed, seed + count) if isinstance(seed, int) else list(seed)
        expected = f"an integer or {count} of them, one a unit"
        check(len(seeds) == count, "seed", expected=expected, got=seed)
        self._units = len(units)
        self._generators = [stream(s, name) for s in seeds]

    def white(self, like: Tensor) -> Tensor:
        """Standard normal, of the shape, dtype and device of ``like`` (*units, ...)."""
        shape = like.shape[self._units :]
        rows = [torch.randn(shape, generator=g, dtype=like.dtype) for g in self._generators]
        return torch.stack(rows).reshape(like.shape).to(like.device)

    def steps(self, count: int, size: int) -> Tensor:
        """Standard normal (units, count, size), float64; the same in one call and in many."""

        def drawn(generator: torch.Generator) -> list[Tensor]:
            # torch.randn of many numbers is not that of the same numbers one after the other.
            return [
                torch.randn(size, generator=generator, dtype=torch.float64) for _ in range(count)
            ]

        if count == 0:
            return torch.zeros(len(self._generators), 0, size, dtype=torch.float64)
        return torch.stack([torch.stack(drawn(generator)) for generator in self._generators])

    def state(self) -> list[Tensor]:
        """Where the streams are."""
        return [generator.get_state() for generator in self._generators]

    def load(self, state: list[Any]) -> None:
        """Go on from there."""
        count = len(self._generators)
        check(len(state) == count, "state", expected=f"of {count} units", got=len(state))
        for generator, saved in zip(self._generators, state, strict=True):
            generator.set_state(saved)
