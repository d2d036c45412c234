"""Half a cosine down: Loshchilov & Hutter, "SGDR", arXiv 1608.03983, and Smith's one cycle."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch

from metaphys._errors import check
from metaphys._typing import Scalar, Schedule
from metaphys.optim._parts import check_count
from metaphys.schedule._base import check_number, double, scheduled, steps_so_far
from metaphys.schedule._join import join_schedules
from metaphys.schedule._polynomial import linear_schedule


def _between(start: Scalar, end: Scalar, fraction: torch.Tensor) -> torch.Tensor:
    """From ``start`` at 0 to ``end`` at 1, on half a cosine."""
    low = double(end)
    return low + (double(start) - low) * 0.5 * (1.0 + torch.cos(math.pi * fraction))


@final
@scheduled
@dataclass(frozen=True)
class _Cosine:
    init_value: Scalar
    end_value: Scalar
    decay_steps: float

    def __call__(self, count: torch.Tensor) -> torch.Tensor:
        steps = steps_so_far(count, self.init_value, self.end_value)
        fraction = (steps / self.decay_steps).clamp(max=1.0)
        return _between(self.init_value, self.end_value, fraction)


def cosine_decay(init_value: Scalar, decay_steps: int, end_value: Scalar = 0.0) -> Schedule:
    r"""Half a cosine from one value down to another (arXiv 1608.03983, equation 5).

    .. math::
        \eta_t = \eta_1 + \tfrac12 (\eta_0 - \eta_1) \left(1 + \cos\frac{\pi t}{T}\right)

    up to T, and η₁ behind.

    Args:
        init_value: η₀, a number or a 0-d tensor that may require a gradient.
        decay_steps: T ≥ 1.
        end_value: η₁, as η₀.

    Raises:
        ValueError: if a number is not finite, or T no integer ≥ 1.

    Example:
        >>> import metaphys
        >>> rate = metaphys.schedule.cosine_decay(1.0, 10)
        >>> [round(float(rate(t)), 3) for t in (0, 5, 10, 20)]
        [1.0, 0.5, 0.0, 0.0]
    """
    check_number("init_value", init_value)
    check_number("end_value", end_value)
    check_count("decay_steps", decay_steps, 1)
    return _Cosine(init_value, end_value, decay_steps)


@final
@scheduled
@dataclass(frozen=True)
class _Restarts:
    init_value: Scalar
    end_value: Scalar
    period: int
    factor: int

    def __call__(self, count: torch.Tensor) -> torch.Tensor:
        steps = steps_so_far(count, self.init_value, self.end_value)
        first, factor = float(self.period), float(self.factor)
        if factor == 1.0:
            return _between(self.init_value, self.end_value, steps.remainder(first) / first)
        # Cycle n begins at T (fⁿ - 1)/(f - 1). The half keeps the logarithm off whole numbers.
        cycle = torch.log1p((steps + 0.5) * (factor - 1.0) / first) / math.log(factor)
        length = torch.pow(factor, cycle.floor())
        begin = first * (length - 1.0) / (factor - 1.0)
        return _between(self.init_value, self.end_value, (steps - begin) / (first * length))


def cosine_restarts(
    init_value: Scalar, period: int, factor: int = 1, end_value: Scalar = 0.0
) -> Schedule:
    """:func:`cosine_decay` again and again: warm restarts (arXiv 1608.03983, section 3).

    Args:
        init_value: where each cycle begins.
        period: steps of the first cycle, ≥ 1.
        factor: how many times longer than the one before each cycle is, an integer ≥ 1.
        end_value: where each cycle would end.

    Raises:
        ValueError: if a number is not finite, or ``period`` or ``factor`` no integer ≥ 1.

    Example:
        >>> import metaphys
        >>> rate = metaphys.schedule.cosine_restarts(1.0, 4, factor=2)
        >>> [round(float(rate(t)), 3) for t in (0, 2, 4, 8, 12)]
        [1.0, 0.5, 1.0, 0.5, 1.0]
    """
    check_number("init_value", init_value)
    check_number("end_value", end_value)
    check_count("period", period, 1)
    check_count("factor", factor, 1)
    return _Restarts(init_value, end_value, period, factor)


def warmup_cosine(
    init_value: Scalar,
    peak_value: Scalar,
    warmup_steps: int,
    decay_steps: int,
    end_value: Scalar = 0.0,
) -> Schedule:
    """On a line up to a peak, then half a cosine down.

    Args:
        init_value: where it begins.
        peak_value: the peak, at step ``warmup_steps``.
        warmup_steps: steps up, ≥ 0.
        decay_steps: at which step it is down, the steps up included.
        end_value: where it ends.

    Raises:
        ValueError: if a number is not finite, or the steps do not rise.

    Example:
        >>> import metaphys
        >>> rate = metaphys.schedule.warmup_cosine(0.0, 1.0, warmup_steps=2, decay_steps=6)
        >>> [round(float(rate(t)), 3) for t in (0, 1, 2, 4, 6)]
        [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    check_count("warmup_steps", warmup_steps)
    check_count("decay_steps", decay_steps, warmup_steps + 1)
    up = linear_schedule(init_value, peak_value, warmup_steps)
    down = cosine_decay(peak_value, decay_steps - warmup_steps, end_value)
    return join_schedules([up, down], [warmup_steps])


@final
@scheduled
@dataclass(frozen=True)
class _OneCycle:
    peak_value: Scalar
    total_steps: int
    pct_start: float
    div_factor: Scalar
    final_div_factor: Scalar

    def __call__(self, count: torch.Tensor) -> torch.Tensor:
        divisors = self.div_factor, self.final_div_factor
        steps, peak = steps_so_far(count, self.peak_value, *divisors), double(self.peak_value)
        start = peak / double(self.div_factor)
        # As torch.optim: the last step, not the one behind it, is the end of a phase.
        top, end = self.pct_start * self.total_steps - 1.0, self.total_steps - 1.0
        up = _between(start, peak, (steps / top).clamp(0.0, 1.0) if top > 0 else 1.0 + 0.0 * steps)
        down = _between(
            peak, start / double(self.final_div_factor), ((steps - top) / (end - top)).clamp(0, 1)
        )
        return torch.where(steps <= top, up, down)


def one_cycle(
    peak_value: Scalar,
    total_steps: int,
    pct_start: float = 0.3,
    div_factor: Scalar = 25.0,
    final_div_factor: Scalar = 1e4,
) -> Schedule:
    """Up to a peak and down to almost nothing, on half cosines (Smith & Topin, arXiv 1708.07120).

    As ``torch.optim.lr_scheduler.OneCycleLR`` with two phases, without its momentum.

    Args:
        peak_value: the peak, a number or a 0-d tensor that may require a gradient.
        total_steps: steps of the cycle, ≥ 1; it stays at its end behind.
        pct_start: the part of the cycle that goes up, in [0, 1).
        div_factor: the peak over the beginning, > 0.
        final_div_factor: the beginning over the end, > 0.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> import metaphys
        >>> rate = metaphys.schedule.one_cycle(1.0, total_steps=11, pct_start=6 / 11)
        >>> [round(float(rate(t)), 3) for t in (0, 5, 10)]
        [0.04, 1.0, 0.0]
    """
    check_number("peak_value", peak_value)
    check_count("total_steps", total_steps, 1)
    right = isinstance(pct_start, (int, float)) and 0.0 <= pct_start < 1.0
    check(right, "pct_start", expected="in [0, 1)", got=pct_start)
    for name, value in (("div_factor", div_factor), ("final_div_factor", final_div_factor)):
        check_number(name, value)
        if not isinstance(value, torch.Tensor):
            check(value > 0, name, expected="> 0", got=value)
    return _OneCycle(peak_value, total_steps, float(pct_start), div_factor, final_div_factor)
