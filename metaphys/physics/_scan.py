"""A loop over time whose gradient needs memory for the square root of its steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import maybe_current_level
from torch.autograd import forward_ad

Flat = tuple[Tensor, ...]
Body = Callable[[Flat, Flat, Flat], tuple[Flat, Tensor]]
"""``body(carry, consts, x) -> (carry, y)``, pure; all that it needs are its arguments."""


def scan(
    body: Body, carry: Flat, consts: Flat, xs: Flat, *, every: int | None = None
) -> tuple[Flat, Tensor]:
    """``carry, y = body(carry, consts, x)`` for each x, from the first to the last.

    Where a gradient is wanted, what enters a segment of ``every`` steps is kept and the steps
    inside are run again backwards: n/every carries and the graph of ``every`` steps, for one more
    forward pass. It works under ``torch.func`` and is differentiable to any order (beyond the
    first, all that the backward pass computes is kept). In forward mode, and under
    ``torch.compile``, it is the plain loop.

    Args:
        body: the step; a tensor that it closes over gets no gradient.
        carry: tensors that go from step to step; their shapes do not change.
        consts: tensors that are the same for all steps.
        xs: tensors whose first dimension is the steps.
        every: steps in a segment; ``None`` for √n; n or more for the plain loop.

    Returns:
        The last carry, and the y of all steps, stacked along a new first dimension.

    Example:
        >>> def body(carry, consts, x):
        ...     total = consts[0] * carry[0] + x[0]
        ...     return (total,), total
        >>> half, ones = torch.tensor(0.5), torch.ones(4)
        >>> scan(body, (torch.zeros(()),), (half,), (ones,))[1]
        tensor([1.0000, 1.5000, 1.7500, 1.8750])
    """
    steps = len(xs[0])
    every = math.ceil(math.sqrt(steps)) if every is None else every
    wanted = torch.is_grad_enabled() and forward_ad._current_level < 0
    if not wanted or every >= steps or torch.compiler.is_compiling():
        return _loop(body, carry, consts, xs)
    found: list[Tensor] = []
    for start in range(0, steps, every):
        part = tuple(x[start : start + every] for x in xs)
        sizes = len(carry), len(consts)
        *carried, ys = _Segment.apply(body, sizes, *carry, *consts, *part)
        carry = tuple(carried)
        found.append(ys)
    return carry, torch.cat(found)


def _loop(body: Body, carry: Flat, consts: Flat, xs: Flat) -> tuple[Flat, Tensor]:
    found: list[Tensor] = []
    for x in zip(*(x.unbind() for x in xs)):
        carry, y = body(carry, consts, x)
        found.append(y)
    return carry, torch.stack(found)


def _run(body: Body, sizes: tuple[int, int], tensors: Flat) -> Flat:
    a, b = sizes[0], sum(sizes)
    carry, ys = _loop(body, tensors[:a], tensors[a:b], tensors[b:])
    return (*carry, ys)


class _Segment(torch.autograd.Function):
    """Some steps. ``torch.utils.checkpoint`` would raise under ``torch.func``; this does not."""

    generate_vmap_rule = True

    @staticmethod
    def forward(body: Body, sizes: tuple[int, int], *tensors: Tensor) -> Flat:
        return _run(body, sizes, tensors)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Flat) -> None:
        ctx.body, ctx.sizes = inputs[:2]
        ctx.save_for_backward(*inputs[2:])

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Any, ...]:
        tensors, needed = ctx.saved_tensors, ctx.needs_input_grad[2:]
        wanted = [index for index, need in enumerate(needed) if need]

        def part(*given: Tensor) -> Flat:
            values = list(tensors)
            for index, tensor in zip(wanted, given):
                values[index] = tensor
            return _run(ctx.body, ctx.sizes, tuple(values))

        result: list[Tensor | None] = [None] * len(tensors)
        found = _pull(part, [tensors[index] for index in wanted], cotangents)
        for index, cotangent in zip(wanted, found):
            result[index] = cotangent
        return None, None, *result


def _pull(part: Callable[..., Flat], given: list[Tensor], cotangents: Flat) -> Sequence[Tensor]:
    """The vector-Jacobian product of ``part`` at ``given``."""
    if torch.is_grad_enabled() or maybe_current_level() is not None:
        return torch.func.vjp(part, *given)[1](cotangents)
    # Nobody differentiates this again: plain autograd, at half the overhead an operation.
    leaves = [tensor.detach().requires_grad_() for tensor in given]
    with torch.enable_grad():
        outputs = part(*leaves)
    tracked = [index for index, output in enumerate(outputs) if output.requires_grad]
    if not tracked:
        return [torch.zeros_like(tensor) for tensor in given]
    return torch.autograd.grad(
        [outputs[index] for index in tracked],
        leaves,
        [cotangents[index] for index in tracked],
        allow_unused=True,
        materialize_grads=True,
    )
