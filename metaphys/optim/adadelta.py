"""Adadelta: Zeiler, arXiv 1212.5701, Algorithm 1, with a step size as torch.optim.Adadelta has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

from metaphys._typing import Hyper, Tree
from metaphys.ops._leafwise import LeafOperator, Numbers
from metaphys.ops.leaves import ADADELTA as ADADELTA_LEAF
from metaphys.optim._fused import Fused
from metaphys.optim._leafwise import Moments
from metaphys.optim.rule import Rule


class AdadeltaState(NamedTuple):
    """Steps taken by each leaf, means of squared gradients and of squared directions."""

    count: torch.Tensor  # pyright: ignore[reportIncompatibleMethodOverride]
    nu: tuple[torch.Tensor, ...]
    delta: tuple[torch.Tensor, ...]


class _Adadelta(Fused):
    state = AdadeltaState
    fractions = ("rho",)

    def start(self, hyper: Mapping[str, Any]) -> Moments:
        return 0.0, 0.0

    def operator(self, hyper: Mapping[str, Any], kept: Sequence[str]) -> LeafOperator:
        return ADADELTA_LEAF

    def numbers(self, hyper: Mapping[str, Any], scale: float) -> Numbers:
        return hyper["rho"], hyper["eps"], scale


ADADELTA = _Adadelta()


def adadelta(
    lr: Hyper | Tree = 1.0,
    rho: Hyper = 0.9,
    eps: Hyper = 1e-6,
    weight_decay: Hyper = 0.0,
    *,
    moment_requires_grad: bool = False,
    maximize: bool = False,
) -> Rule:
    r"""Adadelta (Zeiler, arXiv 1212.5701, Algorithm 1): steps in the unit of the parameters.

    .. math::
        g \leftarrow g + \lambda p,\quad v' = \rho v + (1-\rho) g^2,\quad
        d = \frac{\sqrt{s + \epsilon}}{\sqrt{v' + \epsilon}}\, g,\quad
        s' = \rho s + (1-\rho) d^2,\quad p' = p - \eta d

    Args:
        lr: step size η ≥ 0 (1 in the paper): a number, a tensor, a schedule, or a tree with one
            for each parameter.
        rho: decay ρ of both means, in [0, 1].
        eps: ε ≥ 0, added under both roots; with 0 no step is ever taken. A gradient entry that is
            exactly zero at the first step has the derivative ∂p'/∂g = -η there.
        weight_decay: λ ≥ 0, added to the gradient (L2).
        moment_requires_grad: make the initial state leaves that require a gradient.
        maximize: ascend instead of descend.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> import torch, metaphys
        >>> rule = metaphys.adadelta(rho=0.75, eps=5.0)
        >>> params = [torch.tensor([1.0])]
        >>> updates, _ = rule.update([torch.tensor([4.0])], rule.init(params))
        >>> updates[0]
        tensor([-2.9814])
    """
    return Rule(ADADELTA, dict(locals()))
