"""Schedules one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import final

import torch

from metaphys._errors import check, check_kind
from metaphys._typing import Scalar, Schedule
from metaphys.ops._math import as_double, beside
from metaphys.optim._parts import check_count
from metaphys.schedule._base import check_number, double, scheduled, steps_so_far


@final
@scheduled
@dataclass(frozen=True)
class _Joined:
    schedules: tuple[Schedule, ...]
    boundaries: tuple[int, ...]

    def __call__(self, count: torch.Tensor) -> torch.Tensor:
        steps = steps_so_far(count)
        value = as_double(self.schedules[0](steps), steps.device)
        for start, schedule in zip(self.boundaries, self.schedules[1:]):
            # Before its start a schedule is asked for its first value, not for one it has not.
            later = as_double(schedule((steps - start).clamp(min=0.0)), steps.device)
            since = beside(value, beside(later, steps))
            value = torch.where(since < start, value, later)
        return value


def join_schedules(schedules: Sequence[Schedule], boundaries: Sequence[int]) -> Schedule:
    """One schedule after the other; each counts the steps from where it begins.

    Args:
        schedules: at least one function of the steps.
        boundaries: the step at which each but the first one begins, in rising order.

    Raises:
        TypeError: if one of them is no list.
        ValueError: if the lengths do not fit, or the boundaries do not rise.

    Example:
        >>> import metaphys
        >>> up, down = metaphys.linear_schedule(0.0, 1.0, 2), metaphys.linear_schedule(1.0, 0.0, 4)
        >>> rate = metaphys.schedule.join_schedules([up, down], [2])
        >>> [float(rate(t)) for t in (0, 1, 2, 4, 6)]
        [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    for name, value in (("schedules", schedules), ("boundaries", boundaries)):
        check_kind(value, (tuple, list), name, expected="a list")
    check(
        len(schedules) == len(boundaries) + 1 and all(callable(each) for each in schedules),
        "schedules",
        expected=f"{len(boundaries) + 1} functions, one more than boundaries",
        got=list(schedules),
    )
    for each in boundaries:
        check_count("boundaries", each)
    rising = all(a < b for a, b in pairwise(boundaries))
    check(rising, "boundaries", expected="in rising order", got=list(boundaries))
    return _Joined(tuple(schedules), tuple(boundaries))


@final
@scheduled
@dataclass(frozen=True)
class _Piecewise:
    init_value: Scalar
    boundaries: tuple[int, ...]
    scales: tuple[Scalar, ...]

    def __call__(self, count: torch.Tensor) -> torch.Tensor:
        steps = steps_so_far(count, self.init_value, *self.scales)
        value = as_double(self.init_value, steps.device)
        for boundary, scale in zip(self.boundaries, self.scales):
            value = torch.where(steps < boundary, value, value * double(scale))
        return value


def piecewise_constant(init_value: Scalar, boundaries_and_scales: Mapping[int, Scalar]) -> Schedule:
    """A constant that is multiplied by a factor from each of some steps on.

    Args:
        init_value: where it begins, a number or a 0-d tensor that may require a gradient.
        boundaries_and_scales: the factor for each step at which it changes.

    Raises:
        TypeError: if ``boundaries_and_scales`` is no dict.
        ValueError: if a number is not finite, or a step no integer ≥ 0.

    Example:
        >>> import metaphys
        >>> rate = metaphys.schedule.piecewise_constant(1.0, {2: 0.5, 4: 0.1})
        >>> [float(rate(t)) for t in (1, 2, 4)]
        [1.0, 0.5, 0.05]
    """
    check_number("init_value", init_value)
    name = "boundaries_and_scales"
    check_kind(boundaries_and_scales, Mapping, name, expected="a dict of factors by step")
    for step in boundaries_and_scales:
        check_count(name, step)
    boundaries = sorted(boundaries_and_scales)
    scales = tuple(boundaries_and_scales[each] for each in boundaries)
    for scale in scales:
        check_number(name, scale)
    return _Piecewise(init_value, tuple(boundaries), scales)
