"""An outer loop: what it learns, one step of it, and what it keeps."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import optree
import torch
from torch import Tensor

import metaphys
from metaphys._errors import check


class Loop(NamedTuple):
    """The state of an outer loop.

    Attributes:
        learned: what is learned.
        optimizer: the optimizer's state.
        losses: one for each step, NaN for those to come.
        best: what was learned when the score on validation units was highest.
        score: that score; below zero before the first.
    """

    learned: Any
    optimizer: Any
    losses: Tensor
    best: Any
    score: Tensor


def begin(learned: Any, steps: int) -> Loop:
    """The state before the first of ``steps`` steps."""
    losses = torch.full((max(steps, 1),), math.nan)
    return Loop(learned, metaphys.adam().init(learned), losses, learned, torch.tensor(-1.0))


def descend(loop: Loop, index: int, steps: int, loss: Tensor, grads: Any, lr: Any) -> Loop:
    """One Adam step with a cosine schedule; ``lr`` is a number or a tree like ``learned``."""
    fade = (1 + math.cos(math.pi * index / steps)) / 2
    rule = metaphys.adam(lr=optree.tree_map(lambda rate: fade * rate, lr))
    updates, state = rule.update(grads, loop.optimizer, loop.learned)
    learned = metaphys.apply_updates(loop.learned, updates, inplace=False)
    losses = loop.losses.clone()
    losses[index] = loss.detach()
    return loop._replace(learned=learned, optimizer=state, losses=losses)


def selecting(
    step: Callable[[Loop, int], Loop], score: Callable[[Any], float], steps: int, every: int = 50
) -> Callable[[Loop, int], Loop]:
    """``step``, and every so often a look at the validation units, to keep what was best there.

    Outer losses are noisy and not always falling; every method that may call units while it learns
    gets the same chance to stop early.
    """

    def selected(loop: Loop, index: int) -> Loop:
        loop = step(loop, index)
        if (index + 1) % every and index + 1 != steps:
            return loop
        reached = torch.tensor(score(loop.learned))
        return loop._replace(best=loop.learned, score=reached) if reached > loop.score else loop

    return selected


def check_finite(value: Tensor) -> None:
    """Refuse to go on from a loss that is not finite."""
    check(
        bool(torch.isfinite(value)),
        "loss",
        expected="finite in every outer step",
        got=float(value),
        remedy="Lower the outer step size; the run's last state is stored.",
        error=FloatingPointError,
    )


def value_and_grad(function: Callable[[Any], Tensor], at: Any) -> tuple[Tensor, Any]:
    """A loss, which has to be finite, and its gradient."""
    grads, value = torch.func.grad_and_value(function)(at)
    check_finite(value)
    return value, grads


def clipped(grads: dict[str, Any], limit: float) -> dict[str, Any]:
    """``grads`` scaled to a norm of at most ``limit``: one bad unit cannot undo the start."""
    factor = (limit / (norm(grads) + 1e-12)).clamp(max=1.0)
    return {kind: {n: factor * g for n, g in each.items()} for kind, each in grads.items()}


def norm(grads: Any) -> Tensor:
    """Of a tree of tensors, as one vector."""
    return torch.stack([g.square().sum() for g in optree.tree_leaves(grads)]).sum().sqrt()
