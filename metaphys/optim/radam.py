"""RAdam: Liu et al., "On the variance of the adaptive learning rate and beyond".

arXiv 1908.03265, Algorithm 2. As torch.optim.RAdam, which adds ``eps`` to the root and switches at
ρ_t > 5 (the paper at ρ_t > 4, and it has no ``eps``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

from metaphys._typing import Hyper, Tree
from metaphys.ops._leafwise import LeafOperator, Numbers
from metaphys.ops._math import as_double, beside, bias_corrections
from metaphys.ops.leaves import RADAM as RADAM_LEAF
from metaphys.optim._fused import Fused
from metaphys.optim._leafwise import Moments
from metaphys.optim.rule import Rule


class RAdamState(NamedTuple):
    """Steps taken by each leaf, first and second moments."""

    count: torch.Tensor  # pyright: ignore[reportIncompatibleMethodOverride]
    mu: tuple[torch.Tensor, ...]
    nu: tuple[torch.Tensor, ...]


class _RAdam(Fused):
    state = RAdamState
    flags = ("decoupled_weight_decay", "maximize")
    betas = 2

    def start(self, hyper: Mapping[str, Any]) -> Moments:
        return 0.0, 0.0

    def decoupled(self, hyper: Mapping[str, Any]) -> bool:
        return hyper["decoupled_weight_decay"]

    def factors(self, count: torch.Tensor, hyper: Mapping[str, Any]) -> tuple[Sequence[Any], ...]:
        b1, b2 = (as_double(beta, count.device) for beta in hyper["betas"])
        adaptive, plain = _switched(b2, beside(b2, count).to(torch.float64))
        return bias_corrections(b1, count), adaptive.unbind(0), plain.unbind(0)

    def operator(self, hyper: Mapping[str, Any], kept: Sequence[str]) -> LeafOperator:
        return RADAM_LEAF

    def numbers(self, hyper: Mapping[str, Any], scale: float) -> Numbers:
        return *hyper["betas"], hyper["eps"], scale


def _switched(b2: torch.Tensor, t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(r_t √(1 - β₂^t), 0) where the variance is tractable, ρ_t > 5, and (0, 1) elsewhere.

    Without looking at a value, so that nothing waits and everything compiles; where the first
    branch is not taken it is computed at harmless numbers, so that no NaN enters a derivative.
    """
    decay = torch.pow(b2, t)
    limit = 2.0 / (1.0 - b2) - 1.0
    length = limit - 2.0 * t * decay / (1.0 - decay)
    taken = length > 5.0
    rho = torch.where(taken, length, 6.0)
    most = torch.where(taken, limit, 6.0)
    ratio = (rho - 4.0) * (rho - 2.0) * most / ((most - 4.0) * (most - 2.0) * rho)
    correction = torch.sqrt(ratio * torch.where(taken, 1.0 - decay, 1.0))
    return torch.where(taken, correction, 0.0), (~taken).to(torch.float64)


RADAM = _RAdam()


def radam(
    lr: Hyper | Tree = 1e-3,
    betas: tuple[Hyper, Hyper] = (0.9, 0.999),
    eps: Hyper = 1e-8,
    weight_decay: Hyper = 0.0,
    *,
    decoupled_weight_decay: bool = False,
    moment_requires_grad: bool = False,
    maximize: bool = False,
) -> Rule:
    r"""RAdam (Liu et al., arXiv 1908.03265, Algorithm 2): Adam with a rectified variance.

    .. math::
        \hat m = \frac{m'}{1-\beta_1^t},\quad
        \rho_t = \rho_\infty - \frac{2 t \beta_2^t}{1-\beta_2^t},\quad
        \rho_\infty = \frac{2}{1-\beta_2} - 1,\quad
        r_t = \sqrt{\frac{(\rho_t-4)(\rho_t-2)\rho_\infty}{(\rho_\infty-4)(\rho_\infty-2)\rho_t}}

    .. math::
        p' = p - \eta\, \hat m\, r_t \frac{\sqrt{1-\beta_2^t}}{\sqrt{v'} + \epsilon}
        \ \text{ if } \rho_t > 5, \text{ else } p - \eta\, \hat m

    with m and v as in :func:`metaphys.adam`. With the usual betas the sixth step is the first with
    a variance.

    Args:
        lr: step size η ≥ 0: a number, a tensor, a schedule, or a tree with one for each parameter.
        betas: decay rates (β₁, β₂), in [0, 1).
        eps: ε ≥ 0, added to the root. A gradient entry that has been exactly zero up to step t has
            ∂p'/∂g = -η (1-β₁)/(1-β₁^t) before the switch, times :math:`r_t\sqrt{1-\beta_2^t}/ε`
            after it (the root's own derivative at 0 is taken as 0).
        weight_decay: λ ≥ 0, added to the gradient (L2).
        decoupled_weight_decay: take ηλp off the parameter instead, as AdamW does.
        moment_requires_grad: make the initial state leaves that require a gradient.
        maximize: ascend instead of descend.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> import torch, metaphys
        >>> rule = metaphys.radam(lr=0.1)
        >>> params = [torch.tensor([1.0])]
        >>> updates, _ = rule.update([torch.tensor([4.0])], rule.init(params))
        >>> updates[0]
        tensor([-0.4000])
    """
    return Rule(RADAM, dict(locals()))
