"""Lion: Chen et al., "Symbolic discovery of optimization algorithms".

arXiv 2302.06675, Algorithm 2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

from metaphys._typing import Hyper, Tree
from metaphys.ops._leafwise import LeafOperator, Numbers
from metaphys.ops.leaves import LION as LION_LEAF
from metaphys.optim._fused import Fused
from metaphys.optim._leafwise import Moments
from metaphys.optim.rule import Rule


class LionState(NamedTuple):
    """Steps taken by each leaf, and momenta."""

    count: torch.Tensor  # pyright: ignore[reportIncompatibleMethodOverride]
    mu: tuple[torch.Tensor, ...]


class _Lion(Fused):
    state = LionState
    nonnegative = ("weight_decay",)
    betas = 2

    def start(self, hyper: Mapping[str, Any]) -> Moments:
        return (0.0,)

    def decoupled(self, hyper: Mapping[str, Any]) -> bool:
        return True

    def operator(self, hyper: Mapping[str, Any], kept: Sequence[str]) -> LeafOperator:
        return LION_LEAF

    def numbers(self, hyper: Mapping[str, Any], scale: float) -> Numbers:
        return *hyper["betas"], scale


LION = _Lion()


def lion(
    lr: Hyper | Tree = 1e-4,
    betas: tuple[Hyper, Hyper] = (0.9, 0.99),
    weight_decay: Hyper = 0.0,
    *,
    moment_requires_grad: bool = False,
    maximize: bool = False,
) -> Rule:
    r"""Lion (Chen et al., arXiv 2302.06675, Algorithm 2): the sign of an interpolated momentum.

    .. math::
        p' = p - \eta\left(\mathrm{sign}(\beta_1 m + (1-\beta_1) g) + \lambda p\right),\qquad
        m' = \beta_2 m + (1-\beta_2) g

    The sign's derivative is 0 (at 0 too), so that an update depends on gradients, momenta and betas
    in jumps only: a meta-gradient reaches the step size, the weight decay, and the start through
    the parameters themselves, but nothing through the inner loss.

    Args:
        lr: step size η ≥ 0: a number, a tensor, a schedule, or a tree with one for each parameter.
        betas: (β₁, β₂), in [0, 1): the interpolation, and the momentum's decay.
        weight_decay: λ ≥ 0, taken off the parameter itself (decoupled).
        moment_requires_grad: make the initial state leaves that require a gradient.
        maximize: ascend instead of descend.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> import torch, metaphys
        >>> rule = metaphys.lion(lr=0.1)
        >>> params = [torch.tensor([1.0, 1.0])]
        >>> updates, _ = rule.update([torch.tensor([4.0, -1.0])], rule.init(params))
        >>> updates[0]
        tensor([-0.1000,  0.1000])
    """
    return Rule(LION, dict(locals()))
