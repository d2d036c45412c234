"""One-step differentiation (Bolte, Pauwels, Vaiter, NeurIPS 2023, arXiv 2305.13768)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from metaphys.meta._loop import Inputs, Loop, Outputs
from metaphys.meta.adjoint._base import Adjoint
from metaphys.meta.adjoint._truncated import run_window


@final
@dataclass(frozen=True)
class OneStep(Adjoint):
    """Differentiate the last step only, :class:`Truncated` with a window of one.

    For inner loops that converge fast: the error of the derivative is proportional to the rate
    of convergence, and zero for a superlinear one.

    Example:
        >>> import torch, metaphys
        >>> target = torch.tensor(1.0, requires_grad=True)
        >>> end = metaphys.unroll(lambda p, m: (p - m) ** 2, metaphys.sgd(lr=0.5),
        ...                       torch.tensor(0.0), steps=9, meta=target,
        ...                       adjoint=metaphys.adjoint.OneStep())
        >>> torch.autograd.grad(end.params, target)
        (tensor(1.),)
    """

    def run(self, loop: Loop, inputs: Inputs) -> Outputs:
        return run_window(loop, inputs, 1)
