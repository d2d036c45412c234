"""A compiled step and its pullback, over many steps: by scan, or by a loop in Python.

The pullback of a step is written here rather than left to AOTAutograd: it recomputes the step from
the carry that entered it, so that no activation is kept between the sweeps, and it is the same
program for any number of steps.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._higher_order_ops.scan import scan

from metaphys.meta._loop import Flat, Inputs, Loop, Outputs
from metaphys.meta.adjoint import Adjoint, Checkpoint, Mixed, OneStep, Truncated
from metaphys.meta.adjoint._segments import floats
from metaphys.meta.adjoint._truncated import run_window

Loss = Callable[..., Any]
Wanted = tuple[tuple[int, ...], tuple[int, ...]]
"""Which constants and which batches are differentiated."""


Compiler = Callable[[Any], Callable[..., Any]]


class Program:
    """The forward and the reverse sweep over any number of steps.

    Args:
        loop: one that this is for; its loss is given at every call.
        mode: ``scan`` or ``step``.
        compiled: compiles a function.
    """

    def __init__(
        self, loop: Loop, mode: str, compiled: Callable[[Any], Callable[..., Any]]
    ) -> None:
        def step(loss: Loss, carry: Flat, consts: Flat, batch: Flat) -> tuple[Flat, Flat]:
            return dataclasses.replace(loop, loss_fn=loss).step(carry, consts, batch)

        def pull(
            loss: Loss, carry: Flat, consts: Flat, batch: Flat, cotangents: Flat, wanted: Wanted
        ) -> tuple[Flat, Flat, Flat]:
            """The cotangents of the carry, of the wanted constants and of the wanted batch."""

            def paired(moving: Flat, chosen: Flat, data: Flat) -> Tensor:
                own = _with(carry, floats(carry), moving)
                after, each = step(
                    loss, own, _with(consts, wanted[0], chosen), _with(batch, wanted[1], data)
                )
                outputs = [t for t in (*after, *each) if t.is_floating_point()]
                terms = [(t * c).sum() for t, c in zip(outputs, cotangents)]
                return torch.stack([term.to(terms[0].dtype) for term in terms]).sum()

            given = _only(carry, floats(carry)), _only(consts, wanted[0]), _only(batch, wanted[1])
            return torch.func.grad(paired, argnums=(0, 1, 2))(*given)

        def scan_forward(
            loss: Loss, carry: Flat, consts: Flat, batches: Flat
        ) -> tuple[Flat, Flat, Flat]:
            def body(carry: Flat, batch: Flat) -> tuple[Flat, Flat]:
                after, each = step(loss, carry, consts, batch[1:])
                return _cloned(after), (*_cloned(each), *_cloned(carry))

            after, ys = scan(body, carry, batches)
            n = len(ys) - len(carry)
            return tuple(after), tuple(ys[:n]), tuple(ys[n:])

        def scan_backward(
            loss: Loss,
            kept: Flat,
            consts: Flat,
            batches: Flat,
            on_carry: Flat,
            on_each: Flat,
            wanted: Wanted,
        ) -> tuple[Flat, Flat, Flat]:
            sizes = len(kept), len(batches), len(on_carry)

            def body(sums: Flat, xs: Flat) -> tuple[Flat, Flat]:
                carry, batch = xs[: sizes[0]], xs[sizes[0] + 1 : sum(sizes[:2])]
                own, each = sums[: sizes[2]], xs[sum(sizes[:2]) :]
                found = pull(loss, carry, consts, batch, (*own, *each), wanted)
                totals = [a + b for a, b in zip(sums[sizes[2] :], found[1])]
                return (*_cloned(found[0]), *totals), _cloned(found[2])

            start = (*_cloned(on_carry), *(torch.zeros_like(consts[i]) for i in wanted[0]))
            sums, ys = scan(body, start, (*kept, *batches, *on_each), reverse=True)
            return tuple(sums[: sizes[2]]), tuple(sums[sizes[2] :]), tuple(ys)

        self.by_scan = mode == "scan"
        self._forward = compiled(scan_forward if self.by_scan else step)
        self._backward = compiled(scan_backward if self.by_scan else pull)

    def forward(self, loop: Loop, inputs: Inputs) -> tuple[Flat, Flat, Flat]:
        """The last carry, what every step put out, and the carry that entered each step."""
        if self.by_scan:
            return self._forward(loop.loss_fn, *_numbered(loop, inputs))
        carry, each, kept = inputs.carry, [], []
        for batch in loop.by_step(inputs.batches):
            kept.append(carry)
            carry, outputs = self._forward(loop.loss_fn, carry, inputs.consts, batch)
            each.append(outputs)
        # Autograd marks what a Function gives: not those that are kept.
        return _detached(carry), _stacked(each), tuple(kept)  # type: ignore[return-value]

    def backward(
        self,
        loop: Loop,
        inputs: Inputs,
        kept: Any,
        on_carry: Flat,
        on_each: Flat,
        wanted: Wanted,
    ) -> tuple[Flat, Flat, Flat]:
        """The cotangents of the carry, of the wanted constants and of the wanted batches."""
        _, consts, batches = inputs
        if self.by_scan:
            numbered = _numbered(loop, inputs)[2]
            return self._backward(loop.loss_fn, kept, consts, numbered, on_carry, on_each, wanted)
        sums = [torch.zeros_like(consts[index]) for index in wanted[0]]
        on_batches: list[Flat] = []
        steps = zip(kept, loop.by_step(batches), zip(*(each.unbind(0) for each in on_each)))
        for carry, batch, each in reversed(list(steps)):
            found = self._backward(loop.loss_fn, carry, consts, batch, (*on_carry, *each), wanted)
            on_carry, on_batch = found[0], found[2]
            sums = [a + b for a, b in zip(sums, found[1])]
            on_batches.append(on_batch)
        return on_carry, tuple(sums), _stacked(on_batches[::-1])


def run_program(program: Program, adjoint: Adjoint, loop: Loop, inputs: Inputs) -> Outputs:
    """The unroll by ``program``, keeping what ``adjoint`` keeps."""
    if isinstance(adjoint, (Truncated, OneStep)):
        k = adjoint.k if isinstance(adjoint, Truncated) else 1
        return run_window(_Part(loop, program), inputs, k)  # type: ignore[arg-type]
    every = loop.steps
    if isinstance(adjoint, (Checkpoint, Mixed)):
        every = adjoint.every or _divisor(loop.steps)
    carry, each = inputs.carry, []
    for start in range(0, loop.steps, every):
        part = tuple(batch[start : start + every] for batch in inputs.batches)
        own = loop.part(min(every, loop.steps - start))
        given = Inputs(carry, inputs.consts, part)
        carry, outputs = _applied(program, own, given, keep=every == loop.steps)
        each.append(outputs)
    return Outputs(carry, tuple(torch.cat(values) for values in zip(*each)))


@dataclasses.dataclass(frozen=True)
class _Part:
    """A loop whose steps are taken by a program."""

    loop: Loop
    program: Program

    @property
    def steps(self) -> int:
        return self.loop.steps

    def part(self, steps: int) -> _Part:
        return _Part(self.loop.part(steps), self.program)

    def run(self, inputs: Inputs) -> Outputs:
        return Outputs(*_applied(self.program, self.loop, inputs, keep=True))


def _applied(program: Program, loop: Loop, inputs: Inputs, keep: bool) -> tuple[Flat, Flat]:
    sizes = [len(part) for part in inputs]
    tensors = tuple(tensor for part in inputs for tensor in part)
    outputs = _Apply.apply(program, loop, sizes, keep, *tensors)
    return outputs[: sizes[0]], outputs[sizes[0] :]


class _Apply(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, program: Program, loop: Loop, sizes: list[int], keep: bool, *tensors: Tensor
    ) -> Flat:
        inputs = _as_inputs(tensors, sizes)
        carry, each, kept = program.forward(loop, inputs)
        ctx.program, ctx.loop, ctx.sizes = program, loop, sizes
        ctx.kept = kept if keep and any(ctx.needs_input_grad) else None
        ctx.save_for_backward(*tensors)
        ctx.mark_non_differentiable(*(t for t in carry if not t.is_floating_point()))
        return (*carry, *each)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Any, ...]:
        if torch.is_grad_enabled():  # what comes out would lack its own derivative
            message = "A compiled unroll has first derivatives only: create_graph=True needs"
            raise RuntimeError(f"{message} compile=False.")
        a, b, _ = ctx.sizes
        needed = ctx.needs_input_grad[4:]
        inputs = _as_inputs(ctx.saved_tensors, ctx.sizes)
        kept = ctx.kept if ctx.kept is not None else ctx.program.forward(ctx.loop, inputs)[2]
        ctx.kept = None
        wanted = (
            tuple(i for i in floats(inputs.consts) if needed[a + i]),
            tuple(i for i in floats(inputs.batches) if needed[a + b + i]),
        )
        moving = floats(inputs.carry)
        on_carry = tuple(cotangents[i].contiguous() for i in moving)
        on_each = tuple(cotangent.contiguous() for cotangent in cotangents[a:])
        found = ctx.program.backward(ctx.loop, inputs, kept, on_carry, on_each, wanted)
        result: list[Tensor | None] = [None] * len(needed)
        places = [*moving, *(a + i for i in wanted[0]), *(a + b + i for i in wanted[1])]
        for place, tensor in zip(places, (*found[0], *found[1], *found[2])):
            result[place] = tensor
        return None, None, None, None, *result


def _as_inputs(tensors: Sequence[Tensor], sizes: list[int]) -> Inputs:
    a, b, _ = sizes
    plain = _detached(tensors)
    return Inputs(plain[:a], plain[a : a + b], plain[a + b :])


def _numbered(loop: Loop, inputs: Inputs) -> Inputs:
    """The inputs with a number for each step before the batches: there may be no other data."""
    numbers = torch.arange(loop.steps, device=inputs.carry[0].device)
    return inputs._replace(batches=(numbers, *inputs.batches))


def _divisor(steps: int) -> int:
    """The length near √k of segments that are equally long: each length is compiled anew."""
    lengths = [n for n in range(1, steps + 1) if steps % n == 0]
    return min(lengths, key=lambda n: abs(math.log(n) - math.log(steps) / 2))


def _with(tensors: Flat, places: Sequence[int], values: Flat) -> Flat:
    own = list(tensors)
    for place, value in zip(places, values):
        own[place] = value
    return tuple(own)


def _only(tensors: Flat, places: Sequence[int]) -> Flat:
    return tuple(tensors[place] for place in places)


def _detached(tensors: Sequence[Tensor]) -> Flat:
    return tuple(tensor.detach() for tensor in tensors)


def _cloned(tensors: Sequence[Tensor]) -> Flat:
    # What a scan carries on must not be what it was given, nor given out twice.
    return tuple(tensor.clone() for tensor in tensors)


def _stacked(each: Sequence[Flat]) -> Flat:
    return tuple(torch.stack(values) for values in zip(*each))
