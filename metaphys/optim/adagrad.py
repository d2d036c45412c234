"""Adagrad.

Duchi, Hazan & Singer, JMLR 12 (2011), 2121-2159, Figure 1 with diagonal matrices; as
torch.optim.Adagrad.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

from metaphys._typing import Hyper, Scalar, Tree
from metaphys.ops._leafwise import LeafOperator, Numbers
from metaphys.ops._math import as_double, beside
from metaphys.ops.leaves import ADAGRAD as ADAGRAD_LEAF
from metaphys.optim._fused import Fused
from metaphys.optim._leafwise import Moments
from metaphys.optim.rule import Rule


class AdagradState(NamedTuple):
    """Steps taken by each leaf, and sums of squared gradients."""

    count: torch.Tensor  # pyright: ignore[reportIncompatibleMethodOverride]
    total: tuple[torch.Tensor, ...]


class _Adagrad(Fused):
    state = AdagradState
    nonnegative = ("eps", "weight_decay", "lr_decay")
    constants = ("initial_accumulator_value",)

    def start(self, hyper: Mapping[str, Any]) -> Moments:
        return (hyper["initial_accumulator_value"],)

    def factors(self, count: torch.Tensor, hyper: Mapping[str, Any]) -> tuple[Sequence[Any], ...]:
        decay = as_double(hyper["lr_decay"], count.device)
        before = (beside(decay, count) - 1).to(torch.float64)
        return ((1.0 / (1.0 + before * decay)).unbind(0),)

    def operator(self, hyper: Mapping[str, Any], kept: Sequence[str]) -> LeafOperator:
        return ADAGRAD_LEAF

    def numbers(self, hyper: Mapping[str, Any], scale: float) -> Numbers:
        return hyper["eps"], scale


ADAGRAD = _Adagrad()


def adagrad(
    lr: Hyper | Tree = 1e-2,
    lr_decay: Hyper = 0.0,
    weight_decay: Hyper = 0.0,
    initial_accumulator_value: Scalar = 0.0,
    eps: Hyper = 1e-10,
    *,
    moment_requires_grad: bool = False,
    maximize: bool = False,
) -> Rule:
    r"""Adagrad (Duchi, Hazan & Singer, JMLR 12, 2011, Figure 1, diagonal).

    .. math::
        g \leftarrow g + \lambda p,\quad s' = s + g^2,\quad
        p' = p - \frac{\eta}{1 + (t-1)\,\kappa}\,\frac{g}{\sqrt{s'} + \epsilon}

    Args:
        lr: step size η ≥ 0: a number, a tensor, a schedule, or a tree with one for each parameter.
        lr_decay: κ ≥ 0.
        weight_decay: λ ≥ 0, added to the gradient (L2).
        initial_accumulator_value: what s starts from, ≥ 0: a number or a tensor.
        eps: ε ≥ 0, added to the root. While all gradients of an entry have been exactly zero, and
            s started from 0, ∂p'/∂g = -η/ε (the root's own derivative at 0 is taken as 0):
            choose a larger ε, or a start above 0, where such entries matter.
        moment_requires_grad: make the initial state leaves that require a gradient.
        maximize: ascend instead of descend.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> import torch, metaphys
        >>> rule = metaphys.adagrad(lr=0.1, initial_accumulator_value=9.0)
        >>> params = [torch.tensor([1.0])]
        >>> updates, _ = rule.update([torch.tensor([4.0])], rule.init(params))
        >>> updates[0]
        tensor([-0.0800])
    """
    return Rule(ADAGRAD, dict(locals()))
