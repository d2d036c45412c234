"""From trees to an unroll and back: what the functional form and that of modules share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from metaphys._errors import check
from metaphys._tree import flatten_tensors
from metaphys._typing import Tree
from metaphys.meta._compile import Compile, run_compiled
from metaphys.meta._flat_rule import FlatRule
from metaphys.meta._layout import Layout
from metaphys.meta._loop import COMPLETED, NONFINITE, Flat, Inputs, Loop
from metaphys.meta.adjoint import Adjoint


class Trees(NamedTuple):
    """What an unroll is a function of.

    Attributes:
        params: the start.
        state: the rule's state of each group.
        buffers: a tuple of tensors that the loss takes last and gives anew beside its value.
        meta: what is passed on to the loss.
        batches: data with a leading dimension of steps, or ``None``.
    """

    params: Tree
    state: Any
    buffers: Flat
    meta: Tree
    batches: Tree


class Options(NamedTuple):
    """How an unroll is run; see :func:`metaphys.unroll`."""

    steps: int
    adjoint: Adjoint
    stop_below: float | None
    trajectory: bool
    compile: Compile | None = None


class End(NamedTuple):
    """What an unroll gives; see :class:`metaphys.Unrolled`."""

    params: Tree
    state: Any
    buffers: Flat
    losses: Tensor
    code: Tensor
    trajectory: Tree


def run(loss_fn: Callable[..., Any], rule: FlatRule, trees: Trees, options: Options) -> End:
    """The unroll; see :class:`metaphys.meta._loop.Loop` for ``loss_fn``."""
    params, start = Layout.of(trees.params)
    state, before = Layout.of(trees.state)
    buffers, own = Layout.of(trees.buffers)
    meta, learned = Layout.of(trees.meta)
    hyper, rates = Layout.of(rule.hyper)
    batch, data = (None, ()) if trees.batches is None else Layout.of(trees.batches)
    layouts = params, state, buffers, meta, hyper, batch
    loop = Loop(loss_fn, rule, options.steps, *layouts, options.stop_below, options.trajectory)
    code = torch.full((), COMPLETED, device=start[0].device)
    inputs = Inputs((*start, *before, *own, code), (*learned, *rates), data)
    how = options.compile
    if how is None:
        carry, each = options.adjoint.run(loop, inputs)
    else:
        carry, each = run_compiled(loop, inputs, options.adjoint, how)
    end, after, buffers, code = loop.split_carry(carry)
    # Not a number if one number is not finite; one pass, where isfinite takes four.
    zero = sum((leaf.detach() * 0).sum() for leaf in end)
    code = torch.where((code == COMPLETED) & (zero != 0), NONFINITE, code)
    trajectory = loop.params.tree(each[1:]) if options.trajectory else ()
    tree = loop.params.tree(end)
    return End(tree, loop.state.tree(after), buffers, each[0], code, trajectory)


def check_options(options: Options, batches: Tree) -> None:
    """Refuse what is no way of running an unroll over ``batches``."""
    check_kind("adjoint", options.adjoint, Adjoint, "one of metaphys.adjoint, such as Checkpoint()")
    steps, stop = options.steps, options.stop_below
    right = isinstance(steps, int) and not isinstance(steps, bool) and steps >= 1
    check(right, "steps", expected="an integer >= 1", got=steps)
    number = stop is None or (isinstance(stop, (int, float)) and not isinstance(stop, bool))
    got = f"{stop!r} of type {type(stop).__name__}"
    check(number, "stop_below", expected="a number or None", got=got, error=TypeError)
    check(stop is None or stop == stop, "stop_below", expected="a number", got=stop)
    for leaf in flatten_tensors(batches, "batches")[0]:
        check(
            leaf is None or (leaf.ndim > 0 and len(leaf) == steps),
            "batches",
            expected=f"a tree of tensors with a leading dimension of {steps}, one for each step",
            got=None if leaf is None else f"one of shape {tuple(leaf.shape)}",
        )


def check_kind(argument: str, value: Any, kind: type, expected: str) -> None:
    """Refuse what is of another kind."""
    got = value.__name__ if isinstance(value, type) else type(value).__name__
    check(isinstance(value, kind), argument, expected=expected, got=got, error=TypeError)
