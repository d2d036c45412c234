"""Compiled steps, many times: forwards, and backwards through what was kept or is run again."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from metaphys.meta._capture import Captured
from metaphys.meta._family import Dims, Family
from metaphys.meta._loop import Flat, Inputs, Loop
from metaphys.meta._programs import Steps

Kept = list[tuple[Steps, list[Any]]]
"""What the pullback of each of a sweep's programs needs."""


@dataclass(eq=False)
class Sweep:
    """One stretch of steps, taken forwards and backwards.

    Attributes:
        family: where its programs are.
        loop: the steps.
        sizes: how many tensors of carry, constants and batches its flat arguments have; outside
            tensors follow.
        wanted: the places of arguments that are differentiated; none if nothing is.
        keep: keep between the sweeps what the pullback needs, rather than take the steps again.
        mapped: the levels of ``vmap`` that it is under.
        inner: the same under one level more, and the depth of that level, once it was taken.
        captured: the graph of a step, if it is known.
    """

    family: Family
    loop: Loop
    sizes: tuple[int, int, int]
    wanted: tuple[int, ...]
    keep: bool
    mapped: tuple[Dims, ...] = ()
    inner: tuple[int, Sweep] | None = None
    captured: Captured | None = None
    _kept: Kept | None = field(default=None, init=False)

    def split(self, tensors: Sequence[Tensor]) -> tuple[Inputs, Flat]:
        """The flat arguments as what they are, and the outside tensors."""
        a, b, c = self.sizes
        last = a + b + c
        # Programs do not look at strides: they are for contiguous tensors, and outside ones alike.
        own = tuple(tensor.detach().contiguous() for tensor in tensors[:last])
        outside = tuple(tensor.detach() for tensor in tensors[last:])
        return Inputs(own[:a], own[a : a + b], own[a + b :]), outside

    def forward(self, tensors: Sequence[Tensor]) -> Flat:
        """The last carry, and what the steps put out."""
        outputs, self._kept = self._taken(tensors, keep=self.keep and bool(self.wanted))
        return outputs

    def _taken(self, tensors: Sequence[Tensor], keep: bool) -> tuple[Flat, Kept]:
        inputs, outside = self.split(tensors)
        captured = self.captured
        if captured is None:
            captured, outside = self.family.capture(self.mapped, self.loop, inputs)
        carry, each, kept = inputs.carry, [], []
        for count, batches in _chunks(inputs.batches, self.family.count, self.loop.steps):
            own = inputs._replace(carry=carry, batches=batches)
            steps = self.family.steps(captured, count, own, outside, self.wanted)
            results = steps.forward([*carry, *inputs.consts, *batches, *outside])
            carry = tuple(results[: len(carry)])
            each.append(results[len(carry) : steps.outputs])
            if keep:
                kept.append((steps, steps.kept(results)))
        return (*carry, *(_joined(values) for values in zip(*each))), kept

    def backward(self, tensors: Sequence[Tensor], cotangents: Sequence[Tensor]) -> Flat:
        """The cotangents of the arguments at ``wanted``."""
        kept, self._kept = self._kept or self._taken(tensors, keep=True)[1], None
        a, b, c = self.sizes
        cotangents = [each.contiguous() for each in cotangents]
        on_carry: Sequence[Any] = cotangents[:a]
        sums: list[Any] = [None] * (len(tensors) - a - c)
        on_batches: list[Sequence[Any]] = []
        counts = [count for count, _ in _chunks((), self.family.count, self.loop.steps)]
        on_each = list(zip(*(each.split(counts) for each in cotangents[a:])))
        while kept:  # each is freed as soon as it was used
            steps, own = kept.pop()
            found = steps.backward(own, (*on_carry, *on_each.pop()), tensors)
            on_carry = found[:a]
            sums = [_sum(*each) for each in zip(sums, (*found[a : a + b], *found[a + b + c :]))]
            on_batches.append(found[a + b : a + b + c])
        joined = [_joined(values[::-1]) for values in zip(*on_batches)]
        every = (*on_carry, *sums[:b], *joined, *sums[b:])
        return tuple(
            torch.zeros_like(tensors[place]) if every[place] is None else every[place]
            for place in self.wanted
        )

    def under_vmap(
        self, size: int, in_dims: Sequence[int | None], tensors: Flat
    ) -> tuple[Sweep, Flat]:
        """The sweep of all tasks of one level, and its arguments.

        Carries are always mapped, and so is what is differentiated: each task has a cotangent.
        """
        a, b, c = self.sizes
        own = list(tensors)
        dims: list[int | None] = []
        for place, (tensor, dim) in enumerate(zip(tensors, in_dims)):
            at = 1 if a + b <= place < a + b + c else 0
            if dim is None and place >= a and place not in self.wanted:
                dims.append(None)
                continue
            dims.append(0)
            own[place] = mapped(tensor, dim, at, size)
        level = tuple(dims[a : a + b]), tuple(dims[a + b : a + b + c])
        inner = dataclasses.replace(self, mapped=(*self.mapped, level), inner=None)
        return inner, tuple(own)


def _joined(values: Sequence[Any]) -> Any:
    return values[0] if len(values) == 1 or values[0] is None else torch.cat(values)  # type: ignore[arg-type]


def _sum(one: Any, two: Any) -> Any:
    return two if one is None else one if two is None else one + two


def mapped(tensor: Tensor, dim: int | None, at: int, size: int) -> Tensor:
    """``tensor`` with its tasks along dimension ``at``, where ``dim`` is that of a mapped one."""
    if dim is not None:
        return tensor.movedim(dim, at).contiguous()
    shape = [*tensor.shape[:at], size, *tensor.shape[at:]]
    return tensor.unsqueeze(at).expand(shape).contiguous()


def _chunks(batches: Flat, count: int, steps: int) -> list[tuple[int, Flat]]:
    """The steps by ``count``: how many each time, and their batches."""
    counts = [min(count, steps - start) for start in range(0, steps, count)]
    parts = list(zip(*(each.split(counts) for each in batches))) or [()] * len(counts)
    return list(zip(counts, parts))
