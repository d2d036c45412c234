"""The steps that rules have in common: checks, sign and decay before, learning rate after."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

import torch

from metaphys._errors import check, refuse
from metaphys._tree import flatten, flatten_values
from metaphys._typing import Tensors
from metaphys.ops._math import cast, state_dtype
from metaphys.optim._core import each


def check_finite(name: str, value: Any, *, shaped: bool = False) -> None:
    """Refuse NaN, infinities and what is no hyper-parameter; schedules pass.

    Args:
        name: the argument's name.
        value: a number, a tensor (0-d, or of any shape with ``shaped``) or a schedule.
        shaped: a tensor may have a value for each entry of a parameter.
    """
    if isinstance(value, torch.Tensor):
        check(
            shaped or value.ndim == 0,
            name,
            expected="a number or a tensor of no dimension",
            got=f"one of shape {tuple(value.shape)}",
        )
        real = not value.is_complex() and value.dtype is not torch.bool
        check(real, name, expected="real", got=f"a tensor of {value.dtype}")
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        check(is_number(value) and math.isfinite(value), name, expected="finite", got=value)
    elif not callable(value):
        refuse(
            name,
            expected="a number, a tensor or a schedule",
            got=f"{value!r} of type {type(value).__name__}",
            error=TypeError,
        )


def check_at_least(name: str, value: Any, low: float = 0.0, *, shaped: bool = False) -> None:
    """:func:`check_finite`, and refuse a number below ``low``."""
    check_finite(name, value, shaped=shaped)
    if isinstance(value, (int, float)):
        check(value >= low, name, expected=f">= {low:g}", got=value)


def check_count(name: str, value: Any, least: int = 0) -> None:
    """Refuse what is no integer, one below ``least``, or one that float64 does not hold."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    right = whole and least <= value < 2**53
    check(right, name, expected=f"an integer >= {least}", got=repr(value))


def check_rates(name: str, value: Any) -> None:
    """:func:`check_at_least` 0 for one learning rate, or each of a tree of them."""
    for leaf in flatten_values(value)[0]:
        # A None stands where the tree of parameters has one.
        if leaf is not None or leaf is value:
            check_at_least(name, leaf, shaped=True)


def check_mask(name: str, value: Any) -> None:
    """Refuse anything but ``None``, a function, a bool or a tree of bools."""
    for leaf in flatten(value)[0]:
        check(
            leaf is None or isinstance(leaf, bool) or (callable(leaf) and leaf is value),
            name,
            expected="a tree of bools like the parameters, or a function that gives a list of them",
            got=f"{leaf!r} of type {type(leaf).__name__}",
            error=TypeError,
        )


def mask_of(name: str, value: Any, leaves: Sequence[Any]) -> Sequence[Any]:
    """A resolved mask's bool for each leaf; ``None`` is all of them."""
    chosen = each(True if value is None else value, leaves)
    for leaf in chosen:
        if leaf is not None and not isinstance(leaf, bool):
            check_flag(name, leaf)
    return chosen


def check_betas(betas: Any, length: int = 2) -> None:
    """Refuse anything but ``length`` numbers in [0, 1) (or tensors, or schedules)."""
    names = ", ".join(f"beta{index + 1}" for index in range(length))
    check(
        isinstance(betas, (tuple, list)) and len(betas) == length,
        "betas",
        expected=f"a tuple ({names})",
        got=betas,
    )
    for index, beta in enumerate(betas):
        name = f"betas[{index}]"
        check_at_least(name, beta)
        if isinstance(beta, (int, float)):
            check(beta < 1.0, name, expected="in [0, 1)", got=beta)


def check_fraction(name: str, value: Any) -> None:
    """:func:`check_at_least` 0, and refuse a number above 1."""
    check_at_least(name, value)
    if isinstance(value, (int, float)):
        check(value <= 1.0, name, expected="in [0, 1]", got=value)


def check_constant(name: str, value: Any) -> None:
    """:func:`check_at_least` 0, and refuse a schedule: the initial state has no steps."""
    check(
        isinstance(value, torch.Tensor) or not callable(value),
        name,
        expected="a number or a tensor; it is used once, so it has no schedule",
        got=f"{value!r}",
        error=TypeError,
    )
    check_at_least(name, value)


def check_flag(name: str, value: Any) -> None:
    """Refuse anything but a bool."""
    check(isinstance(value, bool), name, expected="a bool", got=repr(value), error=TypeError)


def check_replacement(name: str, value: Any) -> None:
    """Refuse what does not replace a number: anything but a number or ``None``."""
    right = value is None or is_number(value)
    got = f"{value!r} of type {type(value).__name__}"
    check(right, name, expected="a number or None", got=got, error=TypeError)


def check_state(state: Any, kind: type) -> None:
    """Refuse the state of another rule, which may have as many fields."""
    if type(state) is not kind:
        refuse(
            "state",
            expected=f"of this rule, {kind.__name__}",
            got=type(state).__name__,
            remedy="Make one by `init`.",
            error=TypeError,
        )


def zeros(params: Tensors, requires_grad: bool = False) -> tuple[torch.Tensor, ...]:
    """A zero moment for each parameter: float32 for half-precision ones."""
    moments = tuple(
        torch.zeros_like(
            param, dtype=state_dtype(param.dtype), memory_format=torch.contiguous_format
        )
        for param in params
    )
    # torch.func refuses requires_grad_ inside its transforms, where nobody needs it either.
    return tuple(m.requires_grad_() for m in moments) if requires_grad else moments


def filled(params: Tensors, value: Any, requires_grad: bool = False) -> tuple[torch.Tensor, ...]:
    """:func:`zeros`, or moments that start from another number or a 0-d tensor."""
    if value is None or is_zero(value):
        return zeros(params, requires_grad)
    moments = tuple(moment + cast(value, moment.dtype) for moment in zeros(params))
    return tuple(m.requires_grad_() for m in moments) if requires_grad else moments


def no_steps(params: Tensors) -> torch.Tensor:
    """The step counts before the first step: int64 (n,), on the CPU."""
    # Said in full: the user may have made a GPU the default device.
    return torch.zeros(len(params), dtype=torch.int64, device="cpu")


def signed_and_decayed(
    grads: Tensors, params: Tensors | None, weight_decay: Any, maximize: bool
) -> Sequence[torch.Tensor]:
    """``±g + weight_decay · p``: the sign of the objective and coupled (L2) weight decay."""
    if maximize:
        grads = [-grad for grad in grads]
    if is_zero(weight_decay):
        return grads
    return [g + cast(weight_decay, p.dtype) * p for g, p in zip(grads, needed(params))]


def needed(params: Tensors | None) -> Tensors:
    """``params``, or an error that says what they are needed for."""
    if params is None:
        refuse("params", expected="given when weight_decay is not 0", got=None)
    return params


def is_number(value: Any) -> bool:
    """Whether this is a number that a float can hold; NaN and infinities are."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return isinstance(value, float) or abs(value) <= sys.float_info.max


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
    return [cast(rate, u.dtype) * u for rate, u in zip(each(outside, updates), updates)]


def shrunk(
    updates: Sequence[torch.Tensor], params: Tensors | None, scale: float, weight_decay: Any
) -> Sequence[torch.Tensor]:
    """``u + scale · weight_decay · p``: decoupled weight decay."""
    if is_zero(weight_decay):
        return updates
    pairs = zip(updates, needed(params))
    return [u + (scale * cast(weight_decay, p.dtype) * p).to(u.dtype) for u, p in pairs]


def all_numbers(values: Sequence[Any]) -> bool:
    """Whether every hyper-parameter is a plain number, as the in-place kernels need."""
    return all(isinstance(value, (int, float)) for value in values)
