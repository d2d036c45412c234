"""All that was compiled of one unroll: a step as a graph, and programs for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch

from metaphys.meta._capture import Capture, Captured
from metaphys.meta._loop import Flat, Inputs, Loop
from metaphys.meta._programs import Steps

Dims = tuple[tuple[int | None, ...], tuple[int | None, ...]]
"""Which constants and which batches one level of ``vmap`` maps."""


class Family:
    """All programs of one loss, rule and layouts.

    Args:
        loop: one that this is for; its loss is given at every call.
        backend: of torch.compile.
        count: steps in one program.
    """

    def __init__(self, loop: Loop, backend: str, count: int) -> None:
        self.loop, self.backend, self.count = loop, backend, count
        self._captures: dict[tuple[Dims, ...], Capture] = {}

    def capture(
        self, mapped: tuple[Dims, ...], loop: Loop, inputs: Inputs
    ) -> tuple[Captured, Flat]:
        """A step under levels of ``vmap`` as a graph, and the outside tensors that it reads."""
        if mapped not in self._captures:
            try:
                self._captures[mapped] = Capture(_mapped_step(self.loop, mapped))
            except (RuntimeError, TypeError) as error:  # of an argument that torch does not know
                raise NotImplementedError(_shown(error)) from error
        batch = tuple(each[0] for each in inputs.batches)
        return self._captures[mapped](loop.loss_fn, inputs.carry, inputs.consts, batch)

    def steps(
        self, captured: Captured, count: int, inputs: Inputs, outside: Flat, wanted: tuple[int, ...]
    ) -> Steps:
        """The programs for ``count`` steps of a graph."""
        key = count, wanted
        if key not in captured.compiled:
            batches = tuple(each[:count] for each in inputs.batches)
            sizes = len(inputs.carry), len(inputs.consts), len(batches)
            given = (*inputs.carry, *inputs.consts, *batches, *outside)
            try:
                made = Steps(captured, sizes, count, given, wanted, self.backend)
            except Exception as error:  # whatever goes wrong inside of a compiler
                raise NotImplementedError(_shown(error)) from error
            captured.compiled[key] = made
        return captured.compiled[key]


def _shown(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _mapped_step(loop: Loop, mapped: tuple[Dims, ...]) -> Callable[..., tuple[Flat, Flat]]:
    def step(loss: Callable[..., Any], carry: Flat, consts: Flat, batch: Flat) -> tuple[Flat, Flat]:
        own = dataclasses.replace(loop, loss_fn=loss).step
        for dims in mapped:
            own = torch.vmap(own, in_dims=(0, *dims))
        return own(carry, consts, batch)

    return step
