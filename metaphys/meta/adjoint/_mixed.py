"""Mixed-mode differentiation of an unroll: a reverse sweep whose second derivatives go forward.

Kemaev, Calian, Zintgraf, Farquhar, van Hasselt, "Scalable meta-learning via mixed-mode
differentiation" (MixFlow-MG), arXiv 2505.00793.

With g = ∇ₚL(p, μ, b) and cotangent u of g, the paper's Hessian- and mixed products are one
directional derivative of the full gradient:

    ∂⟨u, g⟩/∂(p, μ, b) = d/dε ∇₍p,μ,b₎ L(p + εu, μ, b) at ε = 0
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from metaphys._replay import Recording
from metaphys.meta._gradient import grad_and_value, gradient_of, is_plain
from metaphys.meta._loop import Flat, Inputs, Loop, Outputs
from metaphys.meta.adjoint._base import Adjoint
from metaphys.meta.adjoint._segments import Segment, check_every, floats, of_some, run_in_segments


@final
@dataclass(frozen=True)
class Mixed(Adjoint):
    """Reverse over the steps, forward over the gradient of each: no backward graph is kept.

    Exact, as :class:`Checkpoint`, with parameters and state of every ``every``-th step kept and
    those between recomputed; but of a step's activations there is only what one gradient and its
    directional derivative need. For nets whose activations dominate. The loss has to have
    forward-mode derivatives (torch says which operator has none). Derivatives of second order are
    those of :class:`Checkpoint`. In forward mode it is :class:`Full`.

    Args:
        every: steps in a segment; ``None`` for √k.

    Raises:
        ValueError: if ``every`` is not positive; in the unroll, if the loss closes over a tensor
            that requires a gradient or is mapped by ``vmap``.

    Example:
        >>> import torch, metaphys
        >>> start = torch.tensor(1.0, requires_grad=True)
        >>> end = metaphys.unroll(lambda p, _: p**2, metaphys.sgd(lr=0.1), start, steps=2,
        ...                       adjoint=metaphys.adjoint.Mixed())
        >>> torch.autograd.grad(end.params, start)
        (tensor(0.6400),)
    """

    every: int | None = None

    def __post_init__(self) -> None:
        check_every(self.every)

    def run(self, loop: Loop, inputs: Inputs) -> Outputs:
        return run_in_segments(loop, inputs, self.every, _pull, "Mixed()")


@dataclass(eq=False)
class _Step:
    """What the reverse sweep needs of one step."""

    carry: Flat
    batch: Flat
    grads: Flat
    loss: Tensor
    buffers: Flat
    recording: Recording


def _pull(segment: Segment, tensors: Flat, cotangents: Flat, wanted: list[int]) -> Sequence[Tensor]:
    inputs, lean = segment.inputs(tensors), is_plain((*tensors, *cotangents))
    carry, consts, _ = inputs
    after, each = cotangents[: len(carry)], cotangents[len(carry) :]
    sweep = _Sweep(segment.loop, consts, after, set(wanted), lean)
    on_batches: list[list[Tensor]] = []
    for index, step in reversed(list(enumerate(_recompute(segment, inputs, lean)))):
        on_batches.append(sweep.back(step, tuple(values[index] for values in each)))
    found = [*sweep.on_carry, *sweep.on_consts]
    found += [torch.stack(values[::-1]) for values in zip(*on_batches)]
    return [found[index] for index in wanted]


def _recompute(segment: Segment, inputs: Inputs, lean: bool) -> list[_Step]:
    loop, (carry, consts, batches) = segment.loop, inputs
    meta, hyper = loop.split_consts(consts)
    steps: list[_Step] = []
    with segment.recording.replay():
        for batch in loop.by_step(batches):
            if steps:
                last = steps[-1]
                carry, _ = loop.advance(last.carry, last.grads, last.loss, last.buffers, hyper)
            recording = Recording()
            with recording.record():
                params, _, buffers, _ = loop.split_carry(carry)
                gradient = gradient_of(loop.loss, (*carry, *consts, *batch))
                grads, loss, buffers = gradient(params, meta, batch, buffers)
            steps.append(_Step(carry, batch, grads, loss, buffers, recording))
    return steps


class _Sweep:
    """The cotangents on their way from the last step of a segment to the first.

    Where a tensor has no derivative, or none is wanted, its place holds anything.
    """

    def __init__(self, loop: Loop, consts: Flat, after: Flat, wanted: set[int], lean: bool) -> None:
        self.loop, self.consts = loop, consts
        self.lean = lean
        self.on_carry = list(after)
        self.on_consts = [torch.zeros_like(const) for const in consts]
        self.n, self.m = len(loop.params), len(loop.meta)
        # Of the meta-parameters and the data only what is wanted is differentiated.
        data = len(after) + len(consts)
        self.meta = [index for index in range(self.m) if len(after) + index in wanted]
        self.data = [index - data for index in sorted(wanted) if index >= data]

    def back(self, step: _Step, on_each: Flat) -> list[Tensor]:
        """Through one step; gives the cotangents of its batch."""
        on_grads, on_loss = self._back_through_rule(step, on_each)
        return self._back_through_gradient(step, on_grads, on_loss)

    def _back_through_rule(self, step: _Step, on_each: Flat) -> tuple[Flat, Tensor]:
        _, hyper = self.loop.split_consts(self.consts)
        sizes = len(step.carry), len(step.grads), len(hyper)

        def rule(tensors: Flat) -> Flat:
            carry, grads = tensors[: sizes[0]], tensors[sizes[0] : sizes[0] + sizes[1]]
            own = tensors[sum(sizes[:2]) : -1]
            after, each = self.loop.advance(carry, grads, tensors[-1], step.buffers, own)
            return (*after, *each)

        given = (*step.carry, *step.grads, *hyper, step.loss)
        places = floats(given)
        function = of_some(rule, given, places)
        pullback = torch.func.vjp(function, *(given[place] for place in places))[1]
        cotangents = [*self.on_carry, *on_each]
        chosen = [c for c, t in zip(cotangents, (*step.carry, *on_each)) if t.is_floating_point()]
        found = list(given)
        for place, cotangent in zip(places, pullback(tuple(chosen))):
            found[place] = cotangent
        self.on_carry = found[: sizes[0]]
        for index, cotangent in enumerate(found[sum(sizes[:2]) : -1]):
            if hyper[index].is_floating_point():
                self.on_consts[self.m + index] = self.on_consts[self.m + index] + cotangent
        return tuple(found[sizes[0] : sum(sizes[:2])]), found[-1]

    def _back_through_gradient(self, step: _Step, on_grads: Flat, on_loss: Tensor) -> list[Tensor]:
        meta = self.loop.split_consts(self.consts)[0]
        params, _, buffers, _ = self.loop.split_carry(step.carry)
        places = [*range(self.n), *(self.n + i for i in self.meta)]
        places += [self.n + self.m + i for i in self.data]
        given = (*params, *meta, *step.batch)

        def loss(*chosen: Tensor) -> tuple[Tensor, Flat]:
            values = list(given)
            for place, tensor in zip(places, chosen):
                values[place] = tensor
            a, b = self.n, self.n + self.m
            return self.loop.loss(tuple(values[:a]), tuple(values[a:b]), tuple(values[b:]), buffers)

        rest = tuple(given[place] for place in places[self.n :])
        gradient = grad_and_value(loss, lean=self.lean, every=True)
        with step.recording.replay():
            values, slopes = torch.func.jvp(lambda *p: gradient(*p, *rest)[0], params, on_grads)[:2]
        # The loss is an output too: its own gradient comes for nothing.
        found = [slope + on_loss * value for value, slope in zip(values, slopes)]
        self.on_carry[: self.n] = [a + b for a, b in zip(self.on_carry, found[: self.n])]
        for index, cotangent in zip(self.meta, found[self.n :]):
            self.on_consts[index] = self.on_consts[index] + cotangent
        on_batch = list(step.batch)
        for index, cotangent in zip(self.data, found[self.n + len(self.meta) :]):
            on_batch[index] = cotangent
        return on_batch
