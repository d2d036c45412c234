"""Stochastic gradient descent with momentum, as torch.optim.SGD defines it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

from metaphys import ops
from metaphys._errors import check
from metaphys._typing import Hyper, Tensors, Tree
from metaphys.optim import _parts
from metaphys.optim._core import Core, check_rates_fit
from metaphys.optim.rule import Rule


class SGDState(NamedTuple):
    """Steps taken by each leaf, and momentum buffers (empty without momentum)."""

    count: torch.Tensor  # pyright: ignore[reportIncompatibleMethodOverride]
    trace: tuple[torch.Tensor, ...]


class _SGD(Core):
    def check(self, hyper: Mapping[str, Any]) -> None:
        _parts.check_rates("lr", hyper["lr"])
        for name in ("momentum", "weight_decay"):
            _parts.check_at_least(name, hyper[name])
        # Any finite dampening is a valid recursion; torch.optim takes negative ones too.
        _parts.check_finite("dampening", hyper["dampening"])
        for name in ("nesterov", "moment_requires_grad", "maximize"):
            _parts.check_flag(name, hyper[name])
        if hyper["nesterov"]:
            check(
                not _parts.is_zero(hyper["momentum"]) and _parts.is_zero(hyper["dampening"]),
                "nesterov",
                expected="used with a momentum > 0 and zero dampening",
                got=f"momentum={hyper['momentum']}, dampening={hyper['dampening']}",
            )

    def init(self, params: Tensors, hyper: Mapping[str, Any]) -> SGDState:
        # A momentum of 0 has no buffers: that is decided here, once, not at every step.
        buffers = () if _parts.is_zero(hyper["momentum"]) else params
        return SGDState(
            _parts.no_steps(params), _parts.zeros(buffers, hyper["moment_requires_grad"])
        )

    def update(
        self, grads: Tensors, state: SGDState, params: Tensors | None, hyper: Mapping[str, Any]
    ) -> tuple[Sequence[torch.Tensor], SGDState]:
        _parts.check_state(state, SGDState)
        check_rates_fit(hyper["lr"], grads)
        grads = _parts.signed_and_decayed(grads, params, hyper["weight_decay"], hyper["maximize"])
        scale, outside = _parts.split_lr(hyper["lr"])
        count = state.count + 1
        updates, trace = ops.sgd(
            grads,
            state.trace,
            count,
            momentum=hyper["momentum"],
            dampening=hyper["dampening"],
            nesterov=hyper["nesterov"],
            scale=scale,
        )
        return _parts.scaled(updates, outside), SGDState(count, tuple(trace))

    def update_in_place(
        self, params: Tensors, grads: Tensors, state: SGDState, hyper: Mapping[str, Any]
    ) -> SGDState:
        names = ("lr", "momentum", "dampening", "weight_decay")
        if not _parts.all_numbers([hyper[name] for name in names]):
            return super().update_in_place(params, grads, state, hyper)
        ops.sgd_(
            params,
            grads,
            state.trace,
            state.count + 1,
            momentum=hyper["momentum"],
            dampening=hyper["dampening"],
            nesterov=hyper["nesterov"],
            scale=-hyper["lr"],
            weight_decay=hyper["weight_decay"],
            maximize=hyper["maximize"],
        )
        state.count.add_(1)
        return state


SGD = _SGD()


def sgd(
    lr: Hyper | Tree,
    momentum: Hyper = 0.0,
    dampening: Hyper = 0.0,
    weight_decay: Hyper = 0.0,
    nesterov: bool = False,
    *,
    moment_requires_grad: bool = False,
    maximize: bool = False,
) -> Rule:
    r"""Gradient descent with momentum, dampening, weight decay and Nesterov's form.

    .. math::
        g \leftarrow g + \lambda p,\qquad b' = \mu b + (1-\tau) g,\qquad p' = p - \eta b'

    with :math:`b' = g` at a parameter's first step, as in torch.optim, and with Nesterov
    :math:`p' = p - \eta (g + \mu b')`.

    Args:
        lr: step size η ≥ 0: a number, a tensor, a schedule, or a tree with one for each parameter
            (a tensor of the parameter's shape gives one for each entry).
        momentum: μ ≥ 0; the number 0 keeps no buffers.
        dampening: τ, applied from a parameter's second step on.
        weight_decay: λ ≥ 0, added to the gradient (L2).
        nesterov: Nesterov's form; needs momentum and zero dampening.
        moment_requires_grad: make the initial buffers leaves that require a gradient.
        maximize: ascend instead of descend.

    Raises:
        ValueError: if a number is out of its range. (The values of tensors are not looked at:
            elsewhere than on the CPU that would wait for the device.)

    Example:
        >>> import torch, metaphys
        >>> rule = metaphys.sgd(lr=1.0, momentum=0.9)
        >>> params = [torch.zeros(1)]
        >>> state = rule.init(params)
        >>> first, state = rule.update([torch.ones(1)], state)
        >>> second, state = rule.update([torch.ones(1)], state)
        >>> first[0], second[0]
        (tensor([-1.]), tensor([-1.9000]))
    """
    return Rule(SGD, dict(locals()))
