"""Exponential decay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch

from metaphys._errors import check
from metaphys._typing import Scalar, Schedule
from metaphys.ops._math import as_double
from metaphys.optim._parts import check_count, check_flag
from metaphys.schedule._base import check_number, double, scheduled, steps_so_far


@final
@scheduled
@dataclass(frozen=True)
class _Exponential:
    init_value: Scalar
    decay_rate: Scalar
    transition_begin: int
    transition_steps: int
    staircase: bool
    end_value: Scalar | None

    def __call__(self, count: torch.Tensor) -> torch.Tensor:
        steps = steps_so_far(count, self.init_value, self.decay_rate, self.end_value)
        periods = (steps - self.transition_begin).clamp(min=0.0) / max(1, self.transition_steps)
        if self.transition_steps == 0:
            periods = torch.zeros_like(periods)
        rate = as_double(self.decay_rate, steps.device)
        value = double(self.init_value) * rate ** (periods.floor() if self.staircase else periods)
        if self.end_value is None:
            return value
        end = as_double(self.end_value, steps.device)
        return torch.where(rate < 1.0, torch.maximum(value, end), torch.minimum(value, end))


def exponential_decay(
    init_value: Scalar,
    decay_rate: Scalar,
    transition_begin: int = 0,
    transition_steps: int = 1,
    staircase: bool = False,
    end_value: Scalar | None = None,
) -> Schedule:
    r"""A power of the steps: :math:`\eta_t = \eta_0\, r^{(t - t_0)/T}`, from t₀ on.

    Args:
        init_value: η₀, a number or a 0-d tensor that may require a gradient.
        decay_rate: r > 0, likewise.
        transition_begin: t₀ ≥ 0; η₀ before.
        transition_steps: T ≥ 0; with 0 it stays at η₀.
        staircase: in jumps every T steps.
        end_value: where it stops: the least value for r < 1, else the largest.

    Raises:
        ValueError: if a number is not finite, r ≤ 0, or one of steps no integer ≥ 0.
        TypeError: if ``staircase`` is no bool.

    Example:
        >>> import metaphys
        >>> rate = metaphys.exponential_decay(1.0, 0.5, transition_steps=2)
        >>> [round(float(rate(t)), 3) for t in (0, 1, 2)]
        [1.0, 0.707, 0.5]
    """
    check_number("init_value", init_value)
    check_number("decay_rate", decay_rate)
    if end_value is not None:
        check_number("end_value", end_value)
    if not isinstance(decay_rate, torch.Tensor):
        check(decay_rate > 0, "decay_rate", expected="> 0", got=decay_rate)
    check_count("transition_begin", transition_begin)
    check_count("transition_steps", transition_steps)
    check_flag("staircase", staircase)
    return _Exponential(
        init_value, decay_rate, transition_begin, transition_steps, staircase, end_value
    )
