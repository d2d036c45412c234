"""Tensors that a loss or a rule closes over: an adjoint with explicit inputs cannot see them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch._C._functorch import (
    get_unwrapped,
    is_batchedtensor,
    is_functorch_wrapped_tensor,
    maybe_get_level,
)

from metaphys._errors import refuse
from metaphys._replay import Recording
from metaphys.meta._loop import Inputs, Loop


def refuse_closed_over(loop: Loop, inputs: Inputs, adjoint: str) -> Recording:
    """Take one step from constants, and refuse a result that is none.

    Returns:
        The measurements of that step, for the first step of the unroll to replay: a device is
        measured no more often for being looked at.
    """
    recording = Recording(random=False)
    plain = Inputs(*(tuple(t.detach() for t in part) for part in inputs))
    random = torch.get_rng_state()
    with torch.enable_grad(), recording.record():
        carry, each = loop.step(plain.carry, plain.consts, loop.by_step(plain.batches)[0])
    torch.set_rng_state(random)
    known = {level for part in inputs for tensor in part for level in _batch_levels(tensor)}
    for tensor in (*carry, *each):
        if is_tracked(tensor):
            _refuse("requires a gradient", adjoint)
        if set(_batch_levels(tensor)) - known:
            _refuse("is mapped by vmap", adjoint)
    return recording


def is_tracked(tensor: Tensor) -> bool:
    """Whether a derivative by it may be asked for: by autograd or any level of torch.func."""
    return any(each.requires_grad for each in _unwrapped(tensor))


def _unwrapped(tensor: Tensor) -> Iterator[Tensor]:
    yield tensor
    while is_functorch_wrapped_tensor(tensor):
        tensor = get_unwrapped(tensor)
        yield tensor


def _batch_levels(tensor: Tensor) -> list[int]:
    return [maybe_get_level(each) for each in _unwrapped(tensor) if is_batchedtensor(each)]


def _refuse(what: str, adjoint: str) -> None:
    refuse(
        "loss_fn",
        expected=f"a function of its arguments alone under adjoint={adjoint}",
        got=f"one that closes over a tensor that {what} (or a schedule of `rule` does)",
        remedy="Pass that tensor through `meta=`, or use metaphys.adjoint.Full().",
    )
