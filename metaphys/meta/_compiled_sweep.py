"""Compiled steps, many times: forwards, and backwards through what was kept or is run again."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import maybe_current_level, unwrap_if_dead

from metaphys.meta._capture import Capture, Captured
from metaphys.meta._loop import Flat, Inputs, Loop, Outputs
from metaphys.meta._programs import Steps
from metaphys.meta.adjoint import Adjoint, Checkpoint, Mixed, OneStep, Truncated
from metaphys.meta.adjoint._closure import is_tracked
from metaphys.meta.adjoint._segments import floats
from metaphys.meta.adjoint._truncated import run_window

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
            self._captures[mapped] = Capture(_mapped_step(self.loop, mapped))
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
                raise NotImplementedError(f"{type(error).__name__}: {error}") from error
            captured.compiled[key] = made
        return captured.compiled[key]


def _mapped_step(loop: Loop, mapped: tuple[Dims, ...]) -> Callable[..., tuple[Flat, Flat]]:
    def step(loss: Callable[..., Any], carry: Flat, consts: Flat, batch: Flat) -> tuple[Flat, Flat]:
        own = dataclasses.replace(loop, loss_fn=loss).step
        for dims in mapped:
            own = torch.vmap(own, in_dims=(0, *dims))
        return own(carry, consts, batch)

    return step


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
        own = tuple(tensor.detach() for tensor in tensors)
        return Inputs(own[:a], own[a : a + b], own[a + b : a + b + c]), own[a + b + c :]

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
            own[place] = _mapped(tensor, dim, at, size)
        level = tuple(dims[a : a + b]), tuple(dims[a + b : a + b + c])
        inner = dataclasses.replace(self, mapped=(*self.mapped, level), inner=None)
        return inner, tuple(own)


def _joined(values: Sequence[Any]) -> Any:
    return values[0] if len(values) == 1 or values[0] is None else torch.cat(values)  # type: ignore[arg-type]


def _sum(one: Any, two: Any) -> Any:
    return two if one is None else one if two is None else one + two


def _mapped(tensor: Tensor, dim: int | None, at: int, size: int) -> Tensor:
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
            own.append(_mapped(tensor, dim, 0 if i < a else 1, info.batch_size))
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


def run_family(family: Family, adjoint: Adjoint, loop: Loop, inputs: Inputs) -> Outputs:
    """The unroll by compiled programs, keeping what ``adjoint`` keeps."""
    captured, outside = None, ()
    if not torch._C._are_functorch_transforms_active():
        captured, outside = family.capture((), loop, inputs)
    part = _Part(family, loop, captured, outside)
    if isinstance(adjoint, (Truncated, OneStep)):
        k = adjoint.k if isinstance(adjoint, Truncated) else 1
        return run_window(part, inputs, k)  # type: ignore[arg-type]
    if not isinstance(adjoint, (Checkpoint, Mixed)):
        return part.run(inputs)
    every = adjoint.every or math.ceil(math.sqrt(loop.steps))
    carry, each = inputs.carry, []
    for start in range(0, loop.steps, every):
        own = tuple(batch[start : start + every] for batch in inputs.batches)
        segment = part.part(min(every, loop.steps - start))
        carry, outputs = segment.run(inputs._replace(carry=carry, batches=own), keep=False)
        each.append(outputs)
    return Outputs(carry, tuple(torch.cat(values) for values in zip(*each)))


@dataclass(frozen=True)
class _Part:
    """A loop whose steps are taken by programs."""

    family: Family
    loop: Loop
    captured: Captured | None
    outside: Flat

    @property
    def steps(self) -> int:
        return self.loop.steps

    def part(self, steps: int) -> _Part:
        return dataclasses.replace(self, loop=self.loop.part(steps))

    def run(self, inputs: Inputs, keep: bool = True) -> Outputs:
        tensors = (*inputs.carry, *inputs.consts, *inputs.batches, *self.outside)
        sizes = len(inputs.carry), len(inputs.consts), len(inputs.batches)
        known = _differentiated(tensors, sizes[0])
        sweep = Sweep(self.family, self.loop, sizes, known, keep, captured=self.captured)
        outputs = _applied(_Apply, (sweep,), tensors)
        return Outputs(outputs[: sizes[0]], outputs[sizes[0] :])


def _differentiated(tensors: Flat, carry: int) -> tuple[int, ...]:
    """The places that need a cotangent: all of the carry, since each step moves it."""
    if not torch.is_grad_enabled():
        return ()
    moving = floats(tensors)
    plain = not torch._C._are_functorch_transforms_active()
    tracked = [
        p for p in moving if tensors[p].requires_grad or (not plain and is_tracked(tensors[p]))
    ]
    return tuple(p for p in moving if p < carry or p in tracked) if tracked else ()
