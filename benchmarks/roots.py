"""One scalar of many results, so that a benchmark differentiates one thing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


class Root(torch.autograd.Function):
    """A scalar of any tensors, whose gradients are the cotangents that it is given.

    Given 600 outputs, ``torch.autograd.grad`` itself takes 3 ms to look at them in Python.
    """

    @staticmethod
    def forward(ctx: Any, cotangents: list[torch.Tensor], *tensors: torch.Tensor) -> torch.Tensor:
        """Zero."""
        ctx.cotangents = cotangents
        return tensors[0].new_zeros(())

    @staticmethod
    def backward(ctx: Any, *_: torch.Tensor) -> tuple[Any, ...]:
        """The cotangents."""
        return (None, *ctx.cotangents)


def pulled_back(
    update: Callable[[], tuple[torch.Tensor, ...]], inputs: tuple[torch.Tensor, ...]
) -> Callable[[], object]:
    """A run of ``update`` and its backward to ``inputs``, from cotangents like them."""
    cotangents = [torch.randn_like(tensor) for tensor in inputs]
    return lambda: torch.autograd.grad(Root.apply(cotangents, *update()), inputs)
