"""An unroll by compiled programs, keeping what its adjoint keeps."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import torch

from metaphys.meta._capture import Captured
from metaphys.meta._family import Family
from metaphys.meta._loop import Flat, Inputs, Loop, Outputs
from metaphys.meta._sweep import Sweep
from metaphys.meta._sweep_function import run_sweep
from metaphys.meta.adjoint import Adjoint, Checkpoint, Mixed, OneStep, Truncated
from metaphys.meta.adjoint._closure import is_tracked
from metaphys.meta.adjoint._segments import floats
from metaphys.meta.adjoint._truncated import run_window


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
        outputs = run_sweep(sweep, tensors)
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
