r"""The nonlinear sub-step: both fields at every time, each time for itself.

With A1 = a/κ, A2 = i b/κ and κ = G h a step of length h of the coupled-wave equations without
dispersion is the flow over unit time of

.. math::
    \dot a = -b a^*, \qquad \dot b = a^2,

taken by one classical Runge-Kutta step.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

Pair = tuple[Tensor, Tensor]
Stage = tuple[Tensor, Tensor, Tensor]


def kick(a: Tensor, b: Tensor) -> Pair:
    """One step; differentiable to any order, in both modes and under ``torch.func``."""
    # The jvp of a jvp through a Function is silently wrong in torch, and under vmap a compiler
    # cannot look into it: there autograd goes through the formula itself.
    if forward_ad._current_level >= 0 or torch.compiler.is_compiling():
        return _step(a, b)
    return _Kick.apply(a, b)  # type: ignore[no-any-return]


def _stages(a: Tensor, b: Tensor) -> list[Stage]:
    """(a, b, a*) where the four slopes are taken."""
    c = a.conj().resolve_conj()
    stages = [(a, b, c)]
    for scale in (0.5, 0.5, 1.0):
        last_a, last_b, last_c = stages[-1]
        next_a = torch.addcmul(a, last_b, last_c, value=-scale)
        next_b = torch.addcmul(b, last_a, last_a, value=scale)
        stages.append((next_a, next_b, next_a.conj().resolve_conj()))
    return stages


def _step(a: Tensor, b: Tensor) -> Pair:
    _, (a2, b2, _), (a3, b3, _), (a4, b4, c4) = _stages(a, b)
    # y + (k1 + 2 k2 + 2 k3 + k4) / 6, where the first three slopes are differences of stages.
    # In place on what is new here: a fresh tensor for each sum would cost as much as the sum.
    a_sum = (a2 + a4).add_(a3, alpha=2).sub_(a).mul_(1 / 3)
    b_sum = (b2 + b4).add_(b3, alpha=2).sub_(b).mul_(1 / 3)
    return (
        torch.addcmul(a_sum, b4, c4, value=-1 / 6),
        torch.addcmul(b_sum, a4, a4, value=1 / 6),
    )


class _Kick(torch.autograd.Function):
    """The step with its adjoint written out: it keeps two fields instead of ten."""

    generate_vmap_rule = True

    @staticmethod
    def forward(a: Tensor, b: Tensor) -> Pair:
        return _step(a, b)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, p: Tensor, q: Tensor) -> Pair:  # pyright: ignore
        first, second, third, fourth = _stages(*ctx.saved_tensors)
        third_of, sixth_of = (p * (1 / 3), q * (1 / 3)), (p * (1 / 6), q * (1 / 6))
        # Cotangents of the slopes, the last one first.
        k4 = sixth_of
        k3 = _pulled(third_of, fourth, k4, 1.0)
        k2 = _pulled(third_of, third, k3, 0.5)
        k1 = _pulled(sixth_of, second, k2, 0.5)
        # (p, q) and what the last three pull back, each of which is a difference above.
        sums = [(k2[i] + k1[i]).mul_(2).add_(k3[i]).sub_(third_of[i]) for i in range(2)]
        return _pulled((sums[0], sums[1]), first, k1, 1.0)


def _pulled(base: Pair, stage: Stage, slope: Pair, scale: float) -> Pair:
    """``base`` + ``scale`` · (the adjoint of the slope at ``stage``, applied to ``slope``)."""
    (p, q), (a, b, c), (pk, qk) = base, stage, slope
    p = torch.addcmul(p, qk, c, value=2 * scale)
    p = torch.addcmul(p, pk.conj().resolve_conj(), b, value=-scale)
    return p, torch.addcmul(q, pk, a, value=-scale)
