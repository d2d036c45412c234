"""The whole graph, kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from metaphys.meta._loop import Inputs, Loop, Outputs
from metaphys.meta.adjoint._base import Adjoint


@final
@dataclass(frozen=True)
class Full(Adjoint):
    """Plain backpropagation through all steps: exact, to every order, in every mode.

    Memory grows with the steps, by the graph of each. Tensors that the loss closes over get their
    gradients too. For few steps, and as what the others are compared with.

    Example:
        >>> import torch, metaphys
        >>> start = torch.tensor(1.0, requires_grad=True)
        >>> end = metaphys.unroll(lambda p, _: p**2, metaphys.sgd(lr=0.1), start, steps=2,
        ...                       adjoint=metaphys.adjoint.Full())
        >>> torch.autograd.grad(end.params, start)
        (tensor(0.6400),)
    """

    def run(self, loop: Loop, inputs: Inputs) -> Outputs:
        return loop.run(inputs)
