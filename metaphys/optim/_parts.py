"""The steps that rules have in common: checks, sign and decay before, learning rate after."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from metaphys._errors import check, refuse
from metaphys._typing import Tensors
from metaphys.ops._math import state_dtype
from metaphys.optim.rule import PerLeaf


def check_finite(name: str, value: Any) -> None:
    """Refuse NaN, infinities and what is no hyper-parameter; tensors and schedules pass."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        check(math.isfinite(value), name, expected="finite", got=value)
        return
    trees = (torch.Tensor, PerLeaf, Mapping, Sequence)
    if isinstance(value, (str, bool)) or not (isinstance(value, trees) or callable(value)):
        refuse(
            name,
            expected="a number, a tensor or a schedule",
            got=f"{value!r} of type {type(value).__name__}",
            error=TypeError,
        )


def check_at_least(name: str, value: Any, low: float = 0.0) -> None:
    """:func:`check_finite`, and refuse a number below ``low``."""
    check_finite(name, value)
    if isinstance(value, (int, float)):
        check(value >= low, name, expected=f">= {low:g}", got=value)


def check_betas(betas: Any) -> None:
    """Refuse anything but a pair of numbers in [0, 1) (or tensors, or schedules)."""
    check(
        isinstance(betas, (tuple, list)) and len(betas) == 2,
        "betas",
        expected="a pair (beta1, beta2)",
        got=betas,
    )
    for index, beta in enumerate(betas):
        name = f"betas[{index}]"
        check_at_least(name, beta)
        if isinstance(beta, (int, float)):
            check(beta < 1.0, name, expected="in [0, 1)", got=beta)


def check_flag(name: str, value: Any) -> None:
    """Refuse anything but a bool."""
    check(isinstance(value, bool), name, expected="a bool", got=repr(value), error=TypeError)


def zeros(params: Tensors, requires_grad: bool = False) -> tuple[torch.Tensor, ...]:
    """A zero moment for each parameter: float32 for half-precision ones."""
    return tuple(
        torch.zeros_like(
            param, dtype=state_dtype(param.dtype), memory_format=torch.contiguous_format
        ).requires_grad_(requires_grad)
        for param in params
    )


def no_steps(params: Tensors) -> torch.Tensor:
    """The step counts before the first step: int64 (n,), on the CPU."""
    return torch.zeros(len(params), dtype=torch.int64)


def signed_and_decayed(
    grads: Tensors, params: Tensors | None, weight_decay: Any, maximize: bool
) -> Sequence[torch.Tensor]:
    """``±g + weight_decay · p``: the sign of the objective and coupled (L2) weight decay."""
    if maximize:
        grads = [-grad for grad in grads]
    if is_zero(weight_decay):
        return grads
    return [g + weight_decay * p for g, p in zip(grads, needed(params))]


def needed(params: Tensors | None) -> Tensors:
    """``params``, or an error that says what they are needed for."""
    if params is None:
        refuse("params", expected="given when weight_decay is not 0", got=None)
    return params


def is_zero(value: Any) -> bool:
    """Whether a hyper-parameter is the number 0, so that its term can be left out."""
    return isinstance(value, (int, float)) and value == 0


def split_lr(lr: Any) -> tuple[float, Any]:
    """What of ``-lr`` goes into the kernel, and what multiplies its updates outside.

    A kernel takes numbers: given a tensor it would drop its gradient with only a warning.
    """
    if isinstance(lr, (int, float)):
        return -float(lr), None
    return -1.0, lr


def scaled(updates: Sequence[torch.Tensor], outside: Any) -> Sequence[torch.Tensor]:
    """``updates`` times a learning rate that is a tensor, or one for each leaf."""
    if outside is None:
        return updates
    rates = outside.values if isinstance(outside, PerLeaf) else [outside] * len(updates)
    return [
        (rate.to(u.dtype) if isinstance(rate, torch.Tensor) else rate) * u
        for rate, u in zip(rates, updates)
    ]


def all_numbers(values: Sequence[Any]) -> bool:
    """Whether every hyper-parameter is a plain number, as the in-place kernels need."""
    return all(isinstance(value, (int, float)) for value in values)
