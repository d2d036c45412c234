"""Adan: Xie et al., "Adan: adaptive Nesterov momentum algorithm", arXiv 2208.06677, Algorithm 1.

As the authors' own code, which differs from the paper in two places: its betas are one minus the
paper's, and its moments start from 0 with bias corrections instead of from the first gradient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

from metaphys._typing import Hyper, Tree
from metaphys.ops._math import bias_corrections, masked_sqrt
from metaphys.optim._leafwise import Leaf, Leafwise, Moments
from metaphys.optim.rule import Rule


class AdanState(NamedTuple):
    """Steps, means of gradients, of their differences and of squares, and the last gradients."""

    count: torch.Tensor  # pyright: ignore[reportIncompatibleMethodOverride]
    mu: tuple[torch.Tensor, ...]
    change: tuple[torch.Tensor, ...]
    nu: tuple[torch.Tensor, ...]
    last: tuple[torch.Tensor, ...]


class _Adan(Leafwise):
    state = AdanState
    flags = ("no_prox", "maximize")
    betas = 3

    def start(self, hyper: Mapping[str, Any]) -> Moments:
        return 0.0, 0.0, 0.0, 0.0

    def decoupled(self, hyper: Mapping[str, Any]) -> bool:
        return True

    def factors(self, count: torch.Tensor, hyper: Mapping[str, Any]) -> tuple[Sequence[Any], ...]:
        corrections = (bias_corrections(beta, count) for beta in hyper["betas"])
        return (*corrections, (count > 1).to(torch.float64).unbind(0))

    def leaf(self, at: Leaf) -> tuple[torch.Tensor, Moments]:
        grad, moments, factors, hyper = at
        mu, change, nu, last = moments
        b1, b2, b3 = hyper["betas"]
        c1, c2, c3, later = factors
        difference = later * (grad - last)  # none at the first step
        mu = b1 * mu + (1 - b1) * grad
        change = b2 * change + (1 - b2) * difference
        ahead = grad + b2 * difference
        nu = b3 * nu + (1 - b3) * ahead * ahead
        direction = (mu / c1 + b2 * change / c2) / (masked_sqrt(nu / c3) + hyper["eps"])
        return direction, (mu, change, nu, grad)

    def decayed(
        self, update: torch.Tensor, param: torch.Tensor, strength: Any, hyper: Mapping[str, Any]
    ) -> torch.Tensor:
        decayed = update - strength * param
        return decayed if hyper["no_prox"] else decayed / (1.0 + strength)


ADAN = _Adan()


def adan(
    lr: Hyper | Tree = 1e-3,
    betas: tuple[Hyper, Hyper, Hyper] = (0.98, 0.92, 0.99),
    eps: Hyper = 1e-8,
    weight_decay: Hyper = 0.0,
    *,
    no_prox: bool = False,
    moment_requires_grad: bool = False,
    maximize: bool = False,
) -> Rule:
    r"""Adan (Xie et al., arXiv 2208.06677, Algorithm 1): Nesterov momentum without a look-ahead.

    .. math::
        d = g - g_{t-1},\quad m' = \beta_1 m + (1-\beta_1) g,\quad
        v' = \beta_2 v + (1-\beta_2) d,\quad n' = \beta_3 n + (1-\beta_3) (g + \beta_2 d)^2

    .. math::
        p' = \frac{1}{1+\eta\lambda}\left(p - \eta\,\frac{m'/(1-\beta_1^t)
             + \beta_2\, v'/(1-\beta_2^t)}{\sqrt{n'/(1-\beta_3^t)} + \epsilon}\right)

    with d = 0 at a parameter's first step.

    Args:
        lr: step size η ≥ 0: a number, a tensor, a schedule, or a tree with one for each parameter.
        betas: decay rates (β₁, β₂, β₃), in [0, 1): one minus the paper's.
        eps: ε ≥ 0, added to the root. A gradient entry that is exactly zero at the first step has
            the derivative ∂p'/∂g = -η/ε there (the root's own derivative at 0 is taken as 0).
        weight_decay: λ ≥ 0, proximal: the parameter is divided by 1 + ηλ.
        no_prox: take ηλp off the parameter instead, as AdamW does.
        moment_requires_grad: make the initial state leaves that require a gradient.
        maximize: ascend instead of descend.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> import torch, metaphys
        >>> rule = metaphys.adan(lr=0.1)
        >>> params = [torch.tensor([1.0])]
        >>> updates, _ = rule.update([torch.tensor([4.0])], rule.init(params))
        >>> updates[0]
        tensor([-0.1000])
    """
    return Rule(ADAN, dict(locals()))
