"""Unrolls in segments: only what enters a segment is kept, the inside is run again backwards.

``torch.utils.checkpoint`` raises under ``torch.func`` and in the backward of a ``vmap``. A Function
with a generated vmap rule whose backward is made of ``torch.func`` transforms does neither.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from metaphys._errors import check
from metaphys._replay import Recording
from metaphys.meta._loop import Flat, Inputs, Loop, Outputs
from metaphys.meta.adjoint._closure import refuse_closed_over
from metaphys.ops._fused import forward_mode_is_on


@dataclass(eq=False)
class Segment:
    """Some steps of a loop, run once and recomputed at will.

    Attributes:
        loop: the steps.
        sizes: how many tensors of carry, constants and batches its flat arguments have.
        pull: the vector-Jacobian product.
        first: the measurements of a segment of one step, if they were made already.
        recording: what the first run took from outside.
    """

    loop: Loop
    sizes: tuple[int, int, int]
    pull: Pull
    first: Recording | None = None
    recording: Recording = field(default_factory=Recording)

    def inputs(self, tensors: Sequence[Tensor]) -> Inputs:
        """The flat arguments as what they are."""
        a, b, _ = self.sizes
        return Inputs(tuple(tensors[:a]), tuple(tensors[a : a + b]), tuple(tensors[a + b :]))

    def run(self, tensors: Sequence[Tensor]) -> Flat:
        """All steps, without looking at the recording."""
        carry, each = self.loop.run(self.inputs(tensors))
        return (*carry, *each)

    def run_first(self, tensors: Sequence[Tensor]) -> Flat:
        """All steps for the first time, recorded."""
        # The record is inside of the replay, so that it sees what the replay answers.
        with self.first.replay() if self.first else nullcontext(), self.recording.record():
            return self.run(tensors)


Pull = Callable[[Segment, Flat, Flat, list[int]], Sequence[Tensor]]
"""``pull(segment, arguments, cotangents, wanted)``: the cotangents of the wanted arguments."""


class _Apply(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(segment: Segment, *tensors: Tensor) -> Flat:
        given = {id(tensor) for tensor in tensors}
        return tuple(t.clone() if id(t) in given else t for t in segment.run_first(tensors))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Flat) -> None:
        ctx.segment = inputs[0]
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Any, ...]:
        tensors = ctx.saved_tensors
        needed = ctx.needs_input_grad[1:]
        wanted = [i for i, t in enumerate(tensors) if needed[i] and t.is_floating_point()]
        result: list[Tensor | None] = [None] * len(tensors)
        found = _Pull.apply(ctx.segment, tuple(wanted), *tensors, *cotangents)
        for index, cotangent in zip(wanted, found):
            result[index] = cotangent
        return None, *result


class _Pull(torch.autograd.Function):
    """The pullback of a segment, which keeps its arguments alone until its own is asked for.

    ``torch.func.grad`` differentiates with ``create_graph``: a pullback that autograd sees through
    would keep the graphs of all segments until it returns.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(segment: Segment, wanted: tuple[int, ...], *given: Tensor) -> Flat:
        known = {id(tensor) for tensor in given}
        found = _pulled(segment.pull, segment, wanted, given)
        return tuple(t.clone() if id(t) in known else t for t in found)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Flat) -> None:
        ctx.segment, ctx.wanted = inputs[:2]
        ctx.save_for_backward(*inputs[2:])

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Any, ...]:
        given = ctx.saved_tensors
        places = [place for place in floats(given) if ctx.needs_input_grad[2 + place]]
        function = of_some(lambda each: _pulled(pull, ctx.segment, ctx.wanted, each), given, places)
        pullback = torch.func.vjp(function, *(given[place] for place in places))[1]
        result: list[Tensor | None] = [None] * len(given)
        for place, cotangent in zip(places, pullback(cotangents)):
            result[place] = cotangent
        return None, None, *result


def pull(segment: Segment, tensors: Flat, cotangents: Flat, wanted: list[int]) -> Sequence[Tensor]:
    """By the graph of the segment, run again: differentiable to any order."""
    function = of_some(segment.run, tensors, wanted)
    with segment.recording.replay():
        pullback = torch.func.vjp(function, *(tensors[index] for index in wanted))[1]
    return pullback(tuple(cotangents[index] for index in floats(cotangents)))


def _pulled(pull: Pull, segment: Segment, wanted: tuple[int, ...], given: Sequence[Tensor]) -> Flat:
    """The cotangents of ``wanted``, from the arguments and the cotangents of the outputs."""
    count = sum(segment.sizes)
    tensors, cotangents = tuple(given[:count]), tuple(given[count:])
    return tuple(pull(segment, tensors, cotangents, list(wanted)))


def run_in_segments(
    loop: Loop, inputs: Inputs, every: int | None, pull: Pull, adjoint: str
) -> Outputs:
    """The unroll in segments of ``every`` steps, each differentiated by ``pull``."""
    # Forward mode keeps no graph, and the jvp of a jvp through a Function is silently wrong.
    if forward_mode_is_on() or not torch.is_grad_enabled() or torch.compiler.is_compiling():
        return loop.run(inputs)
    every = every or math.ceil(math.sqrt(loop.steps))
    first = refuse_closed_over(loop, inputs, adjoint)
    carry, consts, batches = inputs
    each: list[Flat] = []
    # Measurements are made already for one step: this step is a segment of its own.
    starts = [0, *range(1 if first.taken else every, loop.steps, every)]
    for start, stop in zip(starts, [*starts[1:], loop.steps]):
        part = tuple(batch[start:stop] for batch in batches)
        sizes = len(carry), len(consts), len(part)
        made = first if start == 0 and first.taken else None
        segment = Segment(loop.part(stop - start), sizes, pull, made)
        outputs = _Apply.apply(segment, *carry, *consts, *part)
        carry = outputs[: len(carry)]
        each.append(outputs[len(carry) :])
    return Outputs(carry, tuple(torch.cat(values) for values in zip(*each)))


def check_every(every: int | None) -> None:
    """Refuse a length of segments that is none."""
    right = every is None or (isinstance(every, int) and not isinstance(every, bool) and every > 0)
    check(right, "every", expected="a number of steps >= 1, or None for about √steps", got=every)


def floats(tensors: Sequence[Tensor]) -> list[int]:
    """The places of the tensors that have derivatives."""
    return [index for index, tensor in enumerate(tensors) if tensor.is_floating_point()]


def of_some(
    function: Callable[[Flat], Flat], tensors: Flat, places: Sequence[int]
) -> Callable[..., Flat]:
    """``function`` of the tensors at ``places`` alone, giving what has derivatives."""

    def part(*given: Tensor) -> Flat:
        values = list(tensors)
        for place, tensor in zip(places, given):
            values[place] = tensor
        outputs = function(tuple(values))
        return tuple(outputs[index] for index in floats(outputs))

    return part
