"""The inner gradient of a step, for whoever differentiates it next.

Autograd alone, where nothing else is around: ``torch.func`` walks trees at every call, which takes
longer than a small step, and what a loss does inside it goes the long way round.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor

from metaphys.ops._fused import forward_mode_is_on, legacy_vmap_is_on

Flat = tuple[Tensor, ...]
Aided = Callable[..., tuple[Tensor, Flat]]
"""A scalar function of flat tuples, and what else it gives."""


def gradient_of(function: Aided, tensors: Sequence[Tensor]) -> Callable[..., Any]:
    """The gradient of ``function`` by its first argument, its value, and what else it gives.

    Args:
        function: of flat tuples of tensors.
        tensors: all that it will be given.
    """
    if _is_eager(tensors):
        return _Eager(function)
    return grad_and_value(function, lean=False)


def is_plain(tensors: Sequence[Tensor]) -> bool:
    """Whether nobody differentiates here: no gradients enabled, nothing of torch.func around."""
    return not torch.is_grad_enabled() and _is_eager(tensors)


def _is_eager(tensors: Sequence[Tensor]) -> bool:
    """Whether this is for autograd alone: nothing of torch.func, forward mode or a compiler."""
    return not (
        torch.compiler.is_compiling()
        or torch._C._are_functorch_transforms_active()
        or forward_mode_is_on()
        or legacy_vmap_is_on()
        or any(map(is_functorch_wrapped_tensor, tensors))
    )


class _Eager:
    """By ``torch.autograd.grad``, with a graph where gradients are enabled."""

    def __init__(self, function: Aided) -> None:
        self.function = function

    def __call__(self, params: Flat, *rest: Any) -> tuple[Flat, Tensor, Flat]:
        graph = torch.is_grad_enabled()
        if graph and not all(param.requires_grad for param in params):
            # A graph of ours alone would look like one of theirs.
            return grad_and_value(self.function, lean=False)(params, *rest)
        if not graph:
            rest = tuple(tuple(tensor.detach() for tensor in part) for part in rest)
        with torch.enable_grad():
            # Others than those given, which may come in by another way too: that is held fixed.
            own = tuple(p.view_as(p) if graph else p.detach().requires_grad_() for p in params)
            value, more = self.function(own, *rest)
            if not value.requires_grad:
                return tuple(map(torch.zeros_like, params)), value, more
            grads = torch.autograd.grad(
                value, own, create_graph=graph, allow_unused=True, materialize_grads=True
            )
        return (grads, value, more) if graph else (grads, value.detach(), more)


def grad_and_value(
    function: Callable[..., tuple[Tensor, Flat]], *, lean: bool, every: bool = False
) -> Callable[..., Any]:
    """The gradient of ``function`` by its first argument, or by ``every`` one, and its results.

    ``torch.func.grad`` always builds the graph of the backward pass; ``lean`` builds none. That is
    for where :func:`is_plain` holds: elsewhere the pullback would outlive its level.
    """

    def both(*given: Any) -> tuple[Any, Tensor, Flat]:
        if not lean:
            argnums = tuple(range(len(given))) if every else 0
            gradient = torch.func.grad_and_value(function, argnums=argnums, has_aux=True)
            grads, (value, rest) = gradient(*given)
            return grads, value, rest
        first = given if every else given[:1]
        value, pullback, rest = torch.func.vjp(  # pyright: ignore[reportAssignmentType]
            lambda *x: function(*x, *given[len(x) :]), *first, has_aux=True
        )
        grads = pullback(torch.ones_like(value), retain_graph=False, create_graph=False)
        return (grads if every else grads[0]), value, rest

    return both
