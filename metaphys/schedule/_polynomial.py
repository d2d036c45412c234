"""Constant, linear and polynomial schedules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch

from metaphys._errors import check
from metaphys._typing import Scalar, Schedule
from metaphys.optim._parts import check_count
from metaphys.schedule._base import check_number, double, scheduled, steps_so_far


@final
@scheduled
@dataclass(frozen=True)
class _Polynomial:
    init_value: Scalar
    end_value: Scalar
    power: Scalar
    transition_steps: int
    transition_begin: int

    def __call__(self, count: torch.Tensor) -> torch.Tensor:
        steps = steps_so_far(count, self.init_value, self.end_value, self.power)
        since = (steps - self.transition_begin).clamp(0.0, self.transition_steps)
        left = 1.0 - since / max(1, self.transition_steps)
        # At the end the power is 0 whatever its exponent, with that derivative: no 0 · log 0.
        some = left > 0
        shrunk = torch.where(some, torch.where(some, left, 1.0) ** double(self.power), 0.0)
        start, end = double(self.init_value), double(self.end_value)
        return end + (start - end) * shrunk


def polynomial_schedule(
    init_value: Scalar,
    end_value: Scalar,
    power: Scalar,
    transition_steps: int,
    transition_begin: int = 0,
) -> Schedule:
    r"""From one value to another by a power of the time that is left.

    .. math::
        \eta_t = \eta_1 + (\eta_0 - \eta_1) \left(1 - \frac{t - t_0}{T}\right)^p

    for t₀ ≤ t ≤ t₀ + T, η₀ before and η₁ behind.

    Args:
        init_value: η₀, a number or a 0-d tensor that may require a gradient.
        end_value: η₁, likewise.
        power: p > 0, likewise.
        transition_steps: T ≥ 0; with 0 it stays at η₀.
        transition_begin: t₀ ≥ 0.

    Raises:
        ValueError: if a number is not finite, p ≤ 0, or one of steps no integer ≥ 0.

    Example:
        >>> import metaphys
        >>> rate = metaphys.polynomial_schedule(1.0, 0.0, power=2, transition_steps=10)
        >>> [round(float(rate(t)), 2) for t in (0, 5, 10, 20)]
        [1.0, 0.25, 0.0, 0.0]
    """
    for name, value in (("init_value", init_value), ("end_value", end_value), ("power", power)):
        check_number(name, value)
    if not isinstance(power, torch.Tensor):
        check(power > 0, "power", expected="> 0", got=power)
    check_count("transition_steps", transition_steps)
    check_count("transition_begin", transition_begin)
    return _Polynomial(init_value, end_value, power, transition_steps, transition_begin)


def linear_schedule(
    init_value: Scalar, end_value: Scalar, transition_steps: int, transition_begin: int = 0
) -> Schedule:
    """From one value to another on a line: :func:`polynomial_schedule` with the power 1.

    Args:
        init_value: see :func:`polynomial_schedule`.
        end_value: see :func:`polynomial_schedule`.
        transition_steps: see :func:`polynomial_schedule`.
        transition_begin: see :func:`polynomial_schedule`.

    Example:
        >>> import metaphys
        >>> rate = metaphys.linear_schedule(0.0, 1.0, transition_steps=4, transition_begin=2)
        >>> [float(rate(t)) for t in (0, 3, 9)]
        [0.0, 0.25, 1.0]
    """
    return polynomial_schedule(init_value, end_value, 1.0, transition_steps, transition_begin)


def constant(value: Scalar) -> Schedule:
    """The same value at every step: a part of :func:`join_schedules`.

    Args:
        value: a number or a 0-d tensor that may require a gradient.

    Example:
        >>> import metaphys
        >>> float(metaphys.schedule.constant(0.5)(7))
        0.5
    """
    check_number("value", value)
    return linear_schedule(value, value, 0)
