"""RMSprop.

Tieleman & Hinton, "Lecture 6.5 - rmsprop", COURSERA: Neural networks for machine learning, 2012;
centered: Graves, arXiv 1308.0850, equations (38) to (41). As torch.optim.RMSprop, which adds
``eps`` outside the root; Nesterov's form and ``initial_scale`` as in TorchOpt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

from metaphys._errors import check
from metaphys._typing import Hyper, Scalar, Tree
from metaphys.ops._leafwise import LeafOperator, Numbers
from metaphys.ops.leaves import RMSPROP as RMSPROP_LEAF
from metaphys.optim import _parts
from metaphys.optim._fused import Fused
from metaphys.optim._leafwise import Moments
from metaphys.optim.rule import Rule


class RMSpropState(NamedTuple):
    """Steps, means of squares, means (if centered), momentum buffers (if there is momentum)."""

    count: torch.Tensor  # pyright: ignore[reportIncompatibleMethodOverride]
    nu: tuple[torch.Tensor, ...]
    mu: tuple[torch.Tensor, ...]
    trace: tuple[torch.Tensor, ...]


class _RMSprop(Fused):
    state = RMSpropState
    nonnegative = ("eps", "weight_decay", "momentum")
    fractions = ("alpha",)
    flags = ("centered", "nesterov", "maximize")
    constants = ("initial_scale",)

    def check(self, hyper: Mapping[str, Any]) -> None:
        super().check(hyper)
        check(
            not (hyper["nesterov"] and _parts.is_zero(hyper["momentum"])),
            "nesterov",
            expected="used with a momentum > 0",
            got=f"momentum={hyper['momentum']}",
        )

    def start(self, hyper: Mapping[str, Any]) -> Moments:
        mean = 0.0 if hyper["centered"] else None
        trace = None if _parts.is_zero(hyper["momentum"]) else 0.0
        return hyper["initial_scale"], mean, trace

    def operator(self, hyper: Mapping[str, Any], kept: Sequence[str]) -> LeafOperator:
        # By what the state has: a schedule may give a momentum of 0 for a while.
        centered, traced = "mu" in kept, "trace" in kept
        check(
            centered == hyper["centered"] and (traced or _parts.is_zero(hyper["momentum"])),
            "state",
            expected=f"made with centered={hyper['centered']}, momentum={hyper['momentum']}",
            got=f"one that has {', '.join(kept)}",
            remedy="Make one by `init` of this rule.",
        )
        return RMSPROP_LEAF[centered, traced]

    def numbers(self, hyper: Mapping[str, Any], scale: float) -> Numbers:
        return *(hyper[name] for name in ("alpha", "eps", "momentum", "nesterov")), scale


RMSPROP = _RMSprop()


def rmsprop(
    lr: Hyper | Tree = 1e-2,
    alpha: Hyper = 0.99,
    eps: Hyper = 1e-8,
    weight_decay: Hyper = 0.0,
    momentum: Hyper = 0.0,
    centered: bool = False,
    *,
    initial_scale: Scalar = 0.0,
    nesterov: bool = False,
    moment_requires_grad: bool = False,
    maximize: bool = False,
) -> Rule:
    r"""RMSprop (Tieleman & Hinton 2012; centered: Graves, arXiv 1308.0850, eq. 38 to 41).

    .. math::
        g \leftarrow g + \lambda p,\quad v' = \alpha v + (1-\alpha) g^2,\quad
        b' = \mu b + \frac{g}{\sqrt{v'} + \epsilon},\quad p' = p - \eta b'

    Centered, :math:`v' - m'^2` stands under the root, with :math:`m' = \alpha m + (1-\alpha) g`.
    Without momentum there is no b, and with Nesterov :math:`p' = p - \eta (g/(\ldots) + \mu b')`.

    Args:
        lr: step size η ≥ 0: a number, a tensor, a schedule, or a tree with one for each parameter.
        alpha: decay α of the means, in [0, 1].
        eps: ε ≥ 0, added to the root. A gradient entry that is exactly zero at the first step has
            the derivative ∂p'/∂g = -η/ε there (the root's own derivative at 0 is taken as 0).
        weight_decay: λ ≥ 0, added to the gradient (L2).
        momentum: μ ≥ 0; the number 0 keeps no buffers.
        centered: normalise by an estimate of the variance.
        initial_scale: what v starts from, ≥ 0: a number or a tensor.
        nesterov: Nesterov's form; needs momentum.
        moment_requires_grad: make the initial state leaves that require a gradient.
        maximize: ascend instead of descend.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> import torch, metaphys
        >>> rule = metaphys.rmsprop(lr=0.1, alpha=0.75)
        >>> params = [torch.tensor([1.0])]
        >>> updates, _ = rule.update([torch.tensor([4.0])], rule.init(params))
        >>> updates[0]
        tensor([-0.2000])
    """
    return Rule(RMSPROP, dict(locals()))
