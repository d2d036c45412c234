"""Truncated backpropagation (Williams & Peng, Neural Computation 2, 490, 1990)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch

from metaphys._errors import check
from metaphys.meta._loop import Inputs, Loop, Outputs
from metaphys.meta.adjoint._base import Adjoint


@final
@dataclass(frozen=True)
class Truncated(Adjoint):
    """Differentiate the last ``k`` steps only, as if what they start from were a constant.

    Biased: the derivative by the start is zero, those by the rest are what the last steps
    contribute (Shaban et al., arXiv 1810.10667, bound the bias). Memory and time of ``k`` steps'
    graph. Losses and trajectory before the window are constants too.

    Args:
        k: steps in the window; all of them if there are no more.

    Raises:
        ValueError: if ``k`` is no positive integer.

    Example:
        >>> import torch, metaphys
        >>> target = torch.tensor(1.0, requires_grad=True)
        >>> end = metaphys.unroll(lambda p, m: (p - m) ** 2, metaphys.sgd(lr=0.25),
        ...                       torch.tensor(0.0), steps=9, meta=target,
        ...                       adjoint=metaphys.adjoint.Truncated(2))
        >>> torch.autograd.grad(end.params, target)
        (tensor(0.7500),)
    """

    k: int

    def __post_init__(self) -> None:
        right = isinstance(self.k, int) and not isinstance(self.k, bool) and self.k >= 1
        check(right, "k", expected="a number of steps >= 1", got=self.k)

    def run(self, loop: Loop, inputs: Inputs) -> Outputs:
        return run_window(loop, inputs, self.k)


def run_window(loop: Loop, inputs: Inputs, k: int) -> Outputs:
    """The unroll, differentiable in its last ``k`` steps."""
    before = loop.steps - k
    if before <= 0:
        return loop.run(inputs)
    carry, consts, batches = inputs
    head = Inputs(
        tuple(t.detach() for t in carry),
        tuple(t.detach() for t in consts),
        tuple(t[:before].detach() for t in batches),
    )
    with torch.no_grad():
        outputs = loop.part(before).run(head)
    # Detached once more: inside torch.func, what the loss closes over is tracked even there.
    carry, each = (tuple(t.detach() for t in part) for part in outputs)
    tail = loop.part(k).run(Inputs(carry, consts, tuple(t[before:] for t in batches)))
    return Outputs(tail.carry, tuple(torch.cat(pair) for pair in zip(each, tail.each)))
