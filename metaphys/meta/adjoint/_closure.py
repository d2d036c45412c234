"""Tensors that a loss or a rule closes over: an adjoint with explicit inputs cannot see them.

One would have no gradient; one that ``vmap`` maps would be looked up under the number of a level
that is another one by then, and could be taken for a batch of other tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NoReturn

import torch
from torch import Tensor
from torch._C._functorch import (
    get_unwrapped,
    is_batchedtensor,
    is_functorch_wrapped_tensor,
    maybe_current_level,
    maybe_get_bdim,
    maybe_get_level,
)

from metaphys._errors import refuse
from metaphys._replay import Recording, random_untouched
from metaphys.meta._loop import Flat, Inputs, Loop


def refuse_closed_over(loop: Loop, inputs: Inputs, adjoint: str) -> Recording:
    """Take one step from constants, and refuse a result that depends on anything else.

    Returns:
        The measurements of that step, for the first step of the unroll to replay: a device is
        measured no more often for being looked at.
    """
    depth = maybe_current_level() or 0
    sizes = [len(part) for part in inputs]

    def step(*tensors: Tensor) -> None:
        carry, consts = tensors[: sizes[0]], tensors[sizes[0] : sizes[0] + sizes[1]]
        batch = tensors[sizes[0] + sizes[1] :]
        outputs = loop.step(carry, consts, tuple(each[0] for each in batch))
        for tensor in (*outputs[0], *outputs[1]):
            if is_tracked(tensor):
                refuse_closure("requires a gradient", adjoint)
            if any(level <= depth for level in _dims(tensor)):
                refuse_closure("is mapped by vmap", adjoint)

    recording = Recording(random=False)
    with torch.enable_grad(), recording.record(), random_untouched():
        _mapped_anew(step, tuple(tensor for part in inputs for tensor in part))
    return recording


def _mapped_anew(function: Callable[..., None], tensors: Flat) -> None:
    """Call ``function`` with constants of the same values, mapped by levels of ``vmap`` of its own.

    All that is mapped by an older level then comes from elsewhere.
    """
    dims = [_dims(tensor) for tensor in tensors]
    for level in sorted({level for each in dims for level in each}, reverse=True):
        in_dims = tuple(each.get(level) for each in dims)
        function = _vmap(function, in_dims)
    plain = tuple(list(_unwrapped(tensor))[-1].detach() for tensor in tensors)
    function(*plain)


def _vmap(function: Callable[..., None], in_dims: tuple[int | None, ...]) -> Callable[..., None]:
    def mapped(*tensors: Tensor) -> None:
        def with_result(*each: Tensor) -> Tensor:
            function(*each)
            return each[0]  # vmap wants a tensor

        torch.vmap(with_result, in_dims, randomness="different")(*tensors)

    return mapped


def is_tracked(tensor: Tensor) -> bool:
    """Whether autograd, or any level of torch.func, may ask for a derivative by it."""
    return any(each.requires_grad for each in _unwrapped(tensor))


def _unwrapped(tensor: Tensor) -> Iterator[Tensor]:
    """The tensor, and what is inside of each wrapper of torch.func around it."""
    yield tensor
    while is_functorch_wrapped_tensor(tensor):
        tensor = get_unwrapped(tensor)
        yield tensor


def _dims(tensor: Tensor) -> dict[int, int]:
    """The mapped dimension of each level of ``vmap`` that maps it."""
    return {
        maybe_get_level(each): maybe_get_bdim(each)
        for each in _unwrapped(tensor)
        if is_batchedtensor(each)
    }


def refuse_closure(what: str, adjoint: str) -> NoReturn:
    """Refuse a loss that closes over a tensor that ``what``."""
    refuse(
        "loss_fn",
        expected=f"a function of its arguments alone under adjoint={adjoint}",
        got=f"one that closes over a tensor that {what} (or a schedule of `rule` does)",
        remedy="Pass that tensor through `meta=`, or use metaphys.adjoint.Full().",
    )
