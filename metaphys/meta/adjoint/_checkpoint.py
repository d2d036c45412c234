"""Checkpointed reverse mode.

Griewank & Walther, "Algorithm 799: revolve", ACM TOMS 26 (2000); Chen et al., "Training deep nets
with sublinear memory cost", arXiv 1604.06174, Section 3: segments of √k steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from metaphys.meta._loop import Inputs, Loop, Outputs
from metaphys.meta.adjoint._base import Adjoint
from metaphys.meta.adjoint._segments import check_every, pull, run_in_segments


@final
@dataclass(frozen=True)
class Checkpoint(Adjoint):
    """Keep parameters and state every ``every`` steps, and recompute the steps between.

    Exact, and the same under ``torch.func`` and ``vmap``. Memory: k/every states and the graph of
    ``every`` steps; time: one more forward pass. Memory is saved by ``torch.autograd.grad`` and
    ``torch.func.grad`` alike, around ``vmap`` too. Derivatives of second order are right, and run
    the segments once more. In forward mode it is :class:`Full`.

    Args:
        every: steps in a segment; ``None`` for √k.

    Raises:
        ValueError: if ``every`` is not positive; in the unroll, if the loss closes over a tensor
            that requires a gradient or is mapped by ``vmap``.

    Example:
        >>> import torch, metaphys
        >>> start = torch.tensor(1.0, requires_grad=True)
        >>> end = metaphys.unroll(lambda p, _: p**2, metaphys.sgd(lr=0.1), start, steps=2,
        ...                       adjoint=metaphys.adjoint.Checkpoint(every=1))
        >>> torch.autograd.grad(end.params, start)
        (tensor(0.6400),)
    """

    every: int | None = None

    def __post_init__(self) -> None:
        check_every(self.every)

    def run(self, loop: Loop, inputs: Inputs) -> Outputs:
        return run_in_segments(loop, inputs, self.every, pull, "Checkpoint()")
