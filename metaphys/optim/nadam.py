"""NAdam: Dozat, "Incorporating Nesterov momentum into Adam", ICLR workshop 2016, Algorithm 2.

The momentum schedule is that of torch.optim.NAdam.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

from metaphys._typing import Hyper, Tree
from metaphys.ops._leafwise import LeafOperator, Numbers
from metaphys.ops._math import as_double, beside, bias_corrections
from metaphys.ops.leaves import NADAM as NADAM_LEAF
from metaphys.optim._fused import Fused
from metaphys.optim._leafwise import Leaf, Moments
from metaphys.optim.rule import Rule


class NAdamState(NamedTuple):
    """Steps taken by each leaf, first and second moments, products of all momenta so far."""

    count: torch.Tensor  # pyright: ignore[reportIncompatibleMethodOverride]
    mu: tuple[torch.Tensor, ...]
    nu: tuple[torch.Tensor, ...]
    product: tuple[torch.Tensor, ...]


class _NAdam(Fused):
    state = NAdamState
    scalars = ("product",)
    nonnegative = ("eps", "weight_decay", "momentum_decay")
    flags = ("decoupled_weight_decay", "maximize")
    betas = 2

    def start(self, hyper: Mapping[str, Any]) -> Moments:
        return 0.0, 0.0, 1.0

    def decoupled(self, hyper: Mapping[str, Any]) -> bool:
        return hyper["decoupled_weight_decay"]

    def factors(self, count: torch.Tensor, hyper: Mapping[str, Any]) -> tuple[Sequence[Any], ...]:
        b1, b2 = hyper["betas"]
        first, decay = (as_double(each, count.device) for each in (b1, hyper["momentum_decay"]))
        now, later = (
            first * (1.0 - 0.5 * 0.96 ** (steps.to(torch.float64) * decay))
            for steps in (beside(first, beside(decay, each)) for each in (count, count + 1))
        )
        return now.unbind(0), later.unbind(0), bias_corrections(b2, count)

    def operator(self, hyper: Mapping[str, Any], kept: Sequence[str]) -> LeafOperator:
        return NADAM_LEAF

    def numbers(self, hyper: Mapping[str, Any], scale: float) -> Numbers:
        return *hyper["betas"], hyper["eps"], scale

    def leaf_factors(
        self, state: Any, count: torch.Tensor, hyper: Mapping[str, Any]
    ) -> tuple[torch.Tensor, dict[str, tuple[torch.Tensor, ...]]]:
        now, later, c2 = (torch.stack(list(column)) for column in self.factors(count, hyper))
        product = torch.stack([each.to(torch.float64) for each in state.product]) * now
        columns = (*_shares(product, now, later), c2)
        kept = tuple(new.to(old.dtype) for new, old in zip(product.unbind(0), state.product))
        return torch.stack(columns, dim=1), {"product": kept}

    def leaf(self, at: Leaf) -> tuple[torch.Tensor, Moments]:
        (mu, nu, product), (now, later, c2) = at.moments, at.factors
        product = product * now
        shares = _shares(product, now, later)
        direction, after = super().leaf(at._replace(moments=(mu, nu), factors=(*shares, c2)))
        return direction, (*after, product)


def _shares(
    product: torch.Tensor, now: torch.Tensor, later: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The factors of m' and g in the direction; ``product`` is that of all steps so far."""
    return later / (1.0 - product * later), (1.0 - now) / (1.0 - product)


NADAM = _NAdam()


def nadam(
    lr: Hyper | Tree = 2e-3,
    betas: tuple[Hyper, Hyper] = (0.9, 0.999),
    eps: Hyper = 1e-8,
    weight_decay: Hyper = 0.0,
    momentum_decay: Hyper = 4e-3,
    decoupled_weight_decay: bool = False,
    *,
    moment_requires_grad: bool = False,
    maximize: bool = False,
) -> Rule:
    r"""NAdam (Dozat, ICLR workshop 2016, Algorithm 2): Adam with Nesterov's momentum.

    .. math::
        \mu_t = \beta_1\left(1 - \tfrac12\, 0.96^{t\psi}\right),\quad
        \hat m = \frac{\mu_{t+1} m'}{1 - \prod_{i=1}^{t+1}\mu_i}
               + \frac{(1-\mu_t)\, g}{1 - \prod_{i=1}^{t}\mu_i},\quad
        p' = p - \eta\,\frac{\hat m}{\sqrt{v'/(1-\beta_2^t)} + \epsilon}

    with m and v as in :func:`metaphys.adam`.

    Args:
        lr: step size η ≥ 0: a number, a tensor, a schedule, or a tree with one for each parameter.
        betas: decay rates (β₁, β₂), in [0, 1).
        eps: ε ≥ 0, added to the root. A gradient entry that is exactly zero at the first step has
            the derivative ∂p'/∂g = -(η/ε)(1 + μ₂(1-β₁)/(1-μ₁μ₂)) there (the root's own derivative
            at 0 is taken as 0).
        weight_decay: λ ≥ 0, added to the gradient (L2).
        momentum_decay: ψ ≥ 0.
        decoupled_weight_decay: take ηλp off the parameter instead, as AdamW does.
        moment_requires_grad: make the initial state leaves that require a gradient.
        maximize: ascend instead of descend.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> import torch, metaphys
        >>> rule = metaphys.nadam(lr=0.1, betas=(0.0, 0.999))
        >>> params = [torch.tensor([1.0])]
        >>> updates, _ = rule.update([torch.tensor([4.0])], rule.init(params))
        >>> updates[0]
        tensor([-0.1000])
    """
    return Rule(NADAM, dict(locals()))
