"""Compiled unrolls: how many steps go into one program, and what happens where there is none.

- ``step``: one step, and its pullback, each a program that is called as often as there are steps.
- ``graph``: all steps in one program, and their pullback: fastest, and slowest to compile.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections import OrderedDict
from contextlib import nullcontext
from typing import Any, Literal, NamedTuple

import torch
import torch._dynamo.exc

from metaphys._errors import check
from metaphys._replay import Recording, random_untouched
from metaphys.meta._compiled_run import run_family
from metaphys.meta._family import Family
from metaphys.meta._loop import Inputs, Loop, Outputs
from metaphys.meta.adjoint import Adjoint, Checkpoint, Forward, Mixed
from metaphys.meta.adjoint._closure import refuse_closed_over
from metaphys.ops._fused import forward_mode_is_on

Mode = Literal["step", "graph"]

KEPT = 64
"""How many compiled unrolls are kept."""


class Compile(NamedTuple):
    """How an unroll is compiled.

    Attributes:
        mode: see the head of this file.
        backend: of torch.compile.
    """

    mode: Mode
    backend: str


def chosen(compile: bool | str, backend: str) -> Compile | None:
    """What the arguments of an unroll ask for; ``None`` is the eager path."""
    modes = ("step", "graph")
    check(
        isinstance(compile, bool) or compile in modes,
        "compile",
        expected=f"True, False or one of {modes}",
        got=repr(compile),
    )
    if backend != "inductor":
        known = torch.compiler.list_backends(exclude_tags=())
        check(backend in known, "backend", expected=f"one of {known}", got=repr(backend))
    if not compile:
        return None
    return Compile("step" if compile is True else compile, backend)  # type: ignore[arg-type]


class _Entry:
    """One unroll as compiled: its programs, or none."""

    def __init__(self) -> None:
        self.family: Family | None = None
        self.measured: Recording | None = None  # when it was looked at: for the first step taken


_ENTRIES: OrderedDict[Any, _Entry] = OrderedDict()


def forget() -> None:
    """Drop everything that was compiled."""
    _ENTRIES.clear()


def run_compiled(loop: Loop, inputs: Inputs, adjoint: Adjoint, how: Compile) -> Outputs:
    """The unroll as ``how`` says, or eagerly, with one warning, where it cannot be compiled."""
    if torch.compiler.is_compiling():
        return adjoint.run(loop, inputs)
    if forward_mode_is_on():
        _warn("forward mode is not compiled from inside")
        return adjoint.run(loop, inputs)
    if isinstance(adjoint, Forward):
        _warn("its adjoint Forward() is not compiled")
        return adjoint.run(loop, inputs)
    key = _key(loop, adjoint, how)
    entry = _ENTRIES.get(key)
    if entry is None:
        entry = _ENTRIES[key] = _made(loop, inputs, adjoint, how)
        while len(_ENTRIES) > KEPT:
            _ENTRIES.popitem(last=False)
    if entry.measured is not None:
        measured, entry.measured = entry.measured, None
        return _eagerly(loop, inputs, adjoint, measured)
    if entry.family is None:
        return adjoint.run(loop, inputs)
    if torch._C._are_functorch_transforms_active():
        refuse_closed_over(loop, inputs, f"compile={how.mode!r} inside of torch.func")
    try:
        return run_family(entry.family, adjoint, loop, inputs)
    except (torch._dynamo.exc.TorchDynamoException, NotImplementedError) as error:
        outputs = adjoint.run(loop, inputs)  # raises where the loss itself does
        entry.family = None
        _warn(_first_lines(error))
        return outputs


def _made(loop: Loop, inputs: Inputs, adjoint: Adjoint, how: Compile) -> _Entry:
    entry = _Entry()
    why, recording = _taken_from_outside(loop, inputs)
    again = how.mode != "graph" or isinstance(adjoint, (Checkpoint, Mixed))
    if why == "measurements":
        entry.measured = recording
    if why == "measurements" or (why and again):
        _warn(f"its loss takes {why} from outside, which a compiled step cannot be given again")
        return entry
    # Programs outlive the call, whose loss and learned numbers would stay alive with their graphs.
    bare = dataclasses.replace(loop, loss_fn=_none, rule=dataclasses.replace(loop.rule, hyper=()))
    entry.family = Family(bare, how.backend, loop.steps if how.mode == "graph" else 1)
    return entry


def _none(*_: Any) -> Any:
    raise AssertionError("the loss is given at every call")


def _taken_from_outside(loop: Loop, inputs: Inputs) -> tuple[str, Recording]:
    """What one step takes beside its arguments: random numbers, or measurements, which are kept."""
    before, recording = torch.get_rng_state(), Recording(random=False)
    with torch.no_grad(), random_untouched():
        with recording.record():
            loop.step(inputs.carry, inputs.consts, tuple(each[0] for each in inputs.batches))
        drawn = not torch.equal(torch.get_rng_state(), before)
    return "measurements" if recording.taken else "random numbers" if drawn else "", recording


def _eagerly(loop: Loop, inputs: Inputs, adjoint: Adjoint, measured: Recording) -> Outputs:
    """The unroll, whose first step is given what was measured already."""
    if isinstance(adjoint, (Checkpoint, Mixed)) and loop.steps > 1:
        # These record what a step measures, and would not see an answer: it is a step apart.
        carry, consts, batches = inputs
        with measured.replay():
            first = loop.part(1).run(inputs._replace(batches=tuple(t[:1] for t in batches)))
        rest = Inputs(first.carry, consts, tuple(t[1:] for t in batches))
        carry, each = adjoint.run(loop.part(loop.steps - 1), rest)
        return Outputs(carry, tuple(torch.cat(pair) for pair in zip(first.each, each)))
    left = [measured]

    def loss(*arguments: Any) -> Any:
        with left.pop().replay() if left else nullcontext():
            return loop.loss_fn(*arguments)

    return adjoint.run(dataclasses.replace(loop, loss_fn=loss), inputs)


def _key(loop: Loop, adjoint: Adjoint, how: Compile) -> Any:
    """What one compilation is for; torch itself looks at shapes and at what a loss closes over."""
    loss = getattr(loop.loss_fn, "loss_fn", loop.loss_fn)  # of a module, if it is one's
    loss = getattr(loss, "__code__", type(loss))
    rule = (loop.rule.cores, loop.rule.sizes, loop.rule.first_order, loop.rule.callback)
    layouts = (loop.params, loop.state, loop.buffers, loop.meta, loop.hyper, loop.batch)
    known = tuple(None if layout is None else layout.key() for layout in layouts)
    whole = (loop.steps, adjoint) if how.mode == "graph" else ()
    return loss, rule, known, loop.stop_below, loop.trajectory, whole, how


def _first_lines(error: BaseException) -> str:
    return " ".join(str(error).strip().splitlines()[:3])


def _warn(why: str) -> None:
    warnings.warn(f"This unroll runs without `compile`: {why}", UserWarning, stacklevel=5)
