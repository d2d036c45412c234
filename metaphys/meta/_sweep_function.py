"""A sweep as a function that autograd and ``vmap`` know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import maybe_current_level, unwrap_if_dead

from metaphys.meta._loop import Flat
from metaphys.meta._sweep import Sweep, mapped


def run_sweep(sweep: Sweep, tensors: Flat) -> Flat:
    """The last carry, and what the steps put out: differentiable once."""
    return _applied(_Apply, (sweep,), tensors)


class _Apply(torch.autograd.Function):
    @staticmethod
    def forward(sweep: Sweep, *tensors: Tensor) -> Flat:
        return sweep.forward(tensors)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Flat) -> None:
        ctx.sweep = inputs[0]
        ctx.save_for_backward(*inputs[1:])
        ctx.mark_non_differentiable(*(t for t in output if not t.is_floating_point()))

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Any, ...]:
        tensors = ctx.saved_tensors
        found = _applied(_Pull, (ctx.sweep, len(tensors)), (*tensors, *cotangents))
        result: list[Tensor | None] = [None] * len(tensors)
        for place, cotangent in zip(ctx.sweep.wanted, found):
            result[place] = cotangent
        return None, *result

    @staticmethod
    def vmap(info: Any, in_dims: Any, sweep: Sweep, *tensors: Tensor) -> tuple[Flat, Any]:
        inner, own = sweep.under_vmap(info.batch_size, in_dims[1:], tensors)
        sweep.inner = _depth(), inner
        outputs = _Apply.apply(inner, *own)
        a = sweep.sizes[0]
        return outputs, tuple(0 if i < a else 1 for i in range(len(outputs)))


class _Pull(torch.autograd.Function):
    """The pullback of an unroll, which has no derivative itself: asking for one raises."""

    @staticmethod
    def forward(sweep: Sweep, count: int, *tensors: Tensor) -> Flat:
        return sweep.backward(tensors[:count], tensors[count:])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Flat) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> Any:
        message = "A compiled unroll has first derivatives only: second ones need compile=False."
        raise RuntimeError(message)

    @staticmethod
    def vmap(
        info: Any, in_dims: Any, sweep: Sweep, count: int, *tensors: Tensor
    ) -> tuple[Flat, Any]:
        a, b, c = sweep.sizes
        inner, own = sweep.under_vmap(info.batch_size, in_dims[2 : 2 + count], tensors[:count])
        own = list(own)
        if sweep.inner is not None and sweep.inner[0] == _depth():
            inner = sweep.inner[1]  # that took the steps, and has kept what it needs
        for i, (tensor, dim) in enumerate(zip(tensors[count:], in_dims[2 + count :])):
            own.append(mapped(tensor, dim, 0 if i < a else 1, info.batch_size))
        found = _Pull.apply(inner, count, *own)
        dims = tuple(1 if a + b <= place < a + b + c else 0 for place in sweep.wanted)
        return found, dims


def _depth() -> int:
    return maybe_current_level() or 0


def _applied(function: Any, own: tuple[Any, ...], tensors: Sequence[Tensor]) -> Any:
    if torch._C._are_functorch_transforms_active():
        return function.apply(*own, *tensors)
    # Function.apply inspects the signature at every call; outside torch.func this comes next.
    return super(torch.autograd.Function, function).apply(*own, *map(unwrap_if_dead, tensors))  # type: ignore[misc]
