"""Adam and AdamW.

Adam: Kingma & Ba, arXiv 1412.6980, Algorithm 1. AdamW: Loshchilov & Hutter, arXiv 1711.05101,
Algorithm 2, with the schedule multiplier folded into ``lr`` as torch.optim does. AMSGrad, an option
of both: Reddi, Kale & Kumar, arXiv 1904.09237, Algorithm 2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from metaphys import ops
from metaphys._typing import Hyper, Tensors, Tree
from metaphys.ops._checks import check_lists
from metaphys.ops._math import cast
from metaphys.ops.adam import amsgrad_reference
from metaphys.optim import _parts
from metaphys.optim._core import Core, check_rates_fit
from metaphys.optim.rule import Rule


class AdamState(NamedTuple):
    """Steps taken by each leaf, first and second moments, with AMSGrad the largest second ones."""

    count: torch.Tensor  # pyright: ignore[reportIncompatibleMethodOverride]
    mu: tuple[torch.Tensor, ...]
    nu: tuple[torch.Tensor, ...]
    max_nu: tuple[torch.Tensor, ...] = ()


class _Adam(Core):
    per_leaf = ("lr", "mask")
    of_params = ("mask",)

    def __init__(self, *, decoupled: bool) -> None:
        self.decoupled = decoupled

    def check(self, hyper: Mapping[str, Any]) -> None:
        _parts.check_rates("lr", hyper["lr"])
        for name in ("eps", "eps_root", "weight_decay"):
            _parts.check_at_least(name, hyper[name])
        _parts.check_betas(hyper["betas"])
        for name in ("amsgrad", "moment_requires_grad", "maximize"):
            _parts.check_flag(name, hyper[name])
        _parts.check_mask("mask", hyper["mask"])

    def init(self, params: Tensors, hyper: Mapping[str, Any]) -> AdamState:
        learn = hyper["moment_requires_grad"]
        kept = (params, params, params if hyper["amsgrad"] else ())
        return AdamState(_parts.no_steps(params), *(_parts.zeros(each, learn) for each in kept))

    def update(
        self, grads: Tensors, state: AdamState, params: Tensors | None, hyper: Mapping[str, Any]
    ) -> tuple[Sequence[torch.Tensor], AdamState]:
        _parts.check_state(state, AdamState)
        check_rates_fit(hyper["lr"], grads)
        decay = hyper["weight_decay"]
        coupled = 0.0 if self.decoupled else decay
        grads = _parts.signed_and_decayed(grads, params, coupled, hyper["maximize"])
        scale, outside = _parts.split_lr(hyper["lr"])
        count = state.count + 1
        updates, *moments = self._adam(grads, state, count, hyper, scale)
        if self.decoupled and not _parts.is_zero(decay):
            params = _parts.needed(params)
            mask = _parts.mask_of("mask", hyper["mask"], params)
            updates = [
                u + scale * cast(decay, p.dtype) * p if chosen else u
                for u, p, chosen in zip(updates, params, mask)
            ]
        return _parts.scaled(updates, outside), AdamState(count, *map(tuple, moments))

    def _adam(
        self,
        grads: Tensors,
        state: AdamState,
        count: torch.Tensor,
        hyper: Mapping[str, Any],
        scale: float,
    ) -> tuple[Sequence[torch.Tensor], ...]:
        """Updates and moments without weight decay."""
        b1, b2 = hyper["betas"]
        mu, nu, most = state.mu, state.nu, state.max_nu
        values = {"b1": b1, "b2": b2, "eps": hyper["eps"], "eps_root": hyper["eps_root"]}
        if not hyper["amsgrad"]:
            return ops.adam(grads, mu, nu, count, **values, scale=scale)
        check_lists(grads, count, values={}, state={"mu": mu, "nu": nu, "max_nu": most})
        return amsgrad_reference(grads, mu, nu, most, count, **values, scale=scale)

    def update_in_place(
        self, params: Tensors, grads: Tensors, state: AdamState, hyper: Mapping[str, Any]
    ) -> AdamState:
        numbers = (*hyper["betas"], *(hyper[n] for n in ("lr", "eps", "eps_root", "weight_decay")))
        if not _parts.all_numbers(numbers) or hyper["mask"] is not None or hyper["amsgrad"]:
            return super().update_in_place(params, grads, state, hyper)
        ops.adam_(
            params,
            grads,
            state.mu,
            state.nu,
            state.count + 1,
            b1=hyper["betas"][0],
            b2=hyper["betas"][1],
            eps=hyper["eps"],
            eps_root=hyper["eps_root"],
            scale=-hyper["lr"],
            weight_decay=hyper["weight_decay"],
            decoupled=self.decoupled,
            maximize=hyper["maximize"],
        )
        state.count.add_(1)
        return state


ADAM = _Adam(decoupled=False)
ADAMW = _Adam(decoupled=True)


def adam(
    lr: Hyper | Tree = 1e-3,
    betas: tuple[Hyper, Hyper] = (0.9, 0.999),
    eps: Hyper = 1e-8,
    weight_decay: Hyper = 0.0,
    *,
    eps_root: Hyper = 0.0,
    amsgrad: bool = False,
    moment_requires_grad: bool = False,
    maximize: bool = False,
    use_accelerated_op: bool = True,
) -> Rule:
    r"""Adam (Kingma & Ba, arXiv 1412.6980), with coupled (L2) weight decay.

    .. math::
        g \leftarrow g + \lambda p,\quad m' = \beta_1 m + (1-\beta_1) g,\quad
        v' = \beta_2 v + (1-\beta_2) g^2,\quad
        p' = p - \eta\,\frac{m'/(1-\beta_1^t)}{\sqrt{v'/(1-\beta_2^t) + \epsilon_r} + \epsilon}

    Args:
        lr: step size η ≥ 0: a number, a tensor, a schedule, or a tree with one for each parameter.
        betas: decay rates (β₁, β₂) of the moments, in [0, 1).
        eps: ε ≥ 0, added to the root. With ``eps=0`` and ``eps_root=0`` an entry whose gradient
            is exactly zero gives 0/0.
        weight_decay: λ ≥ 0.
        eps_root: ε_r ≥ 0, added under the root. At 0 a gradient entry that is exactly zero has the
            derivative ∂p'/∂g = -η/ε at the first step (the root's own derivative is taken as 0).
        amsgrad: put the largest v' so far under the root (arXiv 1904.09237, Algorithm 2).
        moment_requires_grad: make the initial moments leaves that require a gradient.
        maximize: ascend instead of descend.
        use_accelerated_op: accepted for compatibility; the kernel is chosen by device and dtype.

    Raises:
        ValueError: if a number is out of its range. (The values of tensors are not looked at:
            elsewhere than on the CPU that would wait for the device.)

    Example:
        >>> import torch, metaphys
        >>> rule = metaphys.adam(lr=0.1)
        >>> params = [torch.tensor([1.0])]
        >>> updates, _ = rule.update([torch.tensor([4.0])], rule.init(params))
        >>> updates[0]
        tensor([-0.1000])
    """
    hyper = {
        "lr": lr,
        "betas": betas,
        "eps": eps,
        "weight_decay": weight_decay,
        "eps_root": eps_root,
        "mask": None,
        "amsgrad": amsgrad,
        "moment_requires_grad": moment_requires_grad,
        "maximize": maximize,
    }
    return Rule(ADAM, hyper)


def adamw(
    lr: Hyper | Tree = 1e-3,
    betas: tuple[Hyper, Hyper] = (0.9, 0.999),
    eps: Hyper = 1e-8,
    weight_decay: Hyper = 1e-2,
    *,
    eps_root: Hyper = 0.0,
    mask: Tree | Callable[[Sequence[torch.Tensor]], Sequence[bool]] | None = None,
    amsgrad: bool = False,
    moment_requires_grad: bool = False,
    maximize: bool = False,
    use_accelerated_op: bool = True,
) -> Rule:
    r"""AdamW (Loshchilov & Hutter, arXiv 1711.05101): Adam with decoupled weight decay.

    .. math::
        p' = p - \eta\left(\lambda p + \frac{\hat m}{\sqrt{\hat v + \epsilon_r} + \epsilon}\right)

    Args:
        lr: see :func:`adam`.
        betas: see :func:`adam`.
        eps: see :func:`adam`.
        weight_decay: λ ≥ 0.
        eps_root: see :func:`adam`.
        mask: which parameters decay: a tree of bools like the parameters, or a function of the
            flat list of parameters that gives a list of bools. ``None`` decays all of them.
        amsgrad: see :func:`adam`.
        moment_requires_grad: see :func:`adam`.
        maximize: see :func:`adam`.
        use_accelerated_op: see :func:`adam`.

    Example:
        >>> import torch, metaphys
        >>> rule = metaphys.adamw(lr=0.1, weight_decay=0.5)
        >>> params = [torch.tensor([1.0])]
        >>> updates, _ = rule.update([torch.tensor([4.0])], rule.init(params), params)
        >>> updates[0]
        tensor([-0.1500])
    """
    hyper = {
        "lr": lr,
        "betas": betas,
        "eps": eps,
        "weight_decay": weight_decay,
        "eps_root": eps_root,
        "mask": mask,
        "amsgrad": amsgrad,
        "moment_requires_grad": moment_requires_grad,
        "maximize": maximize,
    }
    return Rule(ADAMW, hyper)
