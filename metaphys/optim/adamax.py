"""Adamax: Kingma & Ba, arXiv 1412.6980, Algorithm 2; ``eps`` where torch.optim.Adamax has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

from metaphys._typing import Hyper, Tree
from metaphys.ops._leafwise import LeafOperator, Numbers
from metaphys.ops._math import bias_corrections
from metaphys.ops.leaves import ADAMAX as ADAMAX_LEAF
from metaphys.optim._fused import Fused
from metaphys.optim._leafwise import Moments
from metaphys.optim.rule import Rule


class AdamaxState(NamedTuple):
    """Steps taken by each leaf, first moments, and the weighted infinity norms of gradients."""

    count: torch.Tensor  # pyright: ignore[reportIncompatibleMethodOverride]
    mu: tuple[torch.Tensor, ...]
    norm: tuple[torch.Tensor, ...]


class _Adamax(Fused):
    state = AdamaxState
    betas = 2

    def start(self, hyper: Mapping[str, Any]) -> Moments:
        return 0.0, 0.0

    def factors(self, count: torch.Tensor, hyper: Mapping[str, Any]) -> tuple[Sequence[Any], ...]:
        return (bias_corrections(hyper["betas"][0], count),)

    def operator(self, hyper: Mapping[str, Any], kept: Sequence[str]) -> LeafOperator:
        return ADAMAX_LEAF

    def numbers(self, hyper: Mapping[str, Any], scale: float) -> Numbers:
        return *hyper["betas"], hyper["eps"], scale


ADAMAX = _Adamax()


def adamax(
    lr: Hyper | Tree = 2e-3,
    betas: tuple[Hyper, Hyper] = (0.9, 0.999),
    eps: Hyper = 1e-8,
    weight_decay: Hyper = 0.0,
    *,
    moment_requires_grad: bool = False,
    maximize: bool = False,
) -> Rule:
    r"""Adamax (Kingma & Ba, arXiv 1412.6980, Algorithm 2): Adam with the infinity norm.

    .. math::
        g \leftarrow g + \lambda p,\quad m' = \beta_1 m + (1-\beta_1) g,\quad
        u' = \max(\beta_2 u, |g| + \epsilon),\quad
        p' = p - \frac{\eta}{1-\beta_1^t}\,\frac{m'}{u'}

    Args:
        lr: step size η ≥ 0: a number, a tensor, a schedule, or a tree with one for each parameter.
        betas: decay rates (β₁, β₂), in [0, 1).
        eps: ε ≥ 0, added to \|g\| (torch.optim's choice; the paper has none). A gradient entry that
            is exactly zero at the first step has the derivative ∂p'/∂g = -η/ε there.
        weight_decay: λ ≥ 0, added to the gradient (L2).
        moment_requires_grad: make the initial state leaves that require a gradient.
        maximize: ascend instead of descend.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> import torch, metaphys
        >>> rule = metaphys.adamax(lr=0.1)
        >>> params = [torch.tensor([1.0])]
        >>> updates, _ = rule.update([torch.tensor([4.0])], rule.init(params))
        >>> updates[0]
        tensor([-0.1000])
    """
    return Rule(ADAMAX, dict(locals()))
