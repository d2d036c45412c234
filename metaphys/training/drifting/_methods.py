"""What can be done with a unit in an interval, and the days of a unit's life under it."""

from __future__ import annotations

import abc
import math
from typing import final

import torch
from torch import Tensor

from metaphys.physics import Belief, PhysicsAware
from metaphys.training._draws import Params
from metaphys.training._loop import Loop, begin
from metaphys.training.drifting._equalizing import Equalizer
from metaphys.training.drifting._following import Followed, twins
from metaphys.training.drifting._setting import Setting
from metaphys.training.drifting._training import LATER, stepped
from metaphys.training.drifting._units import DriftingUnits


class Method(abc.ABC):
    """What is done in every interval."""

    @abc.abstractmethod
    def adapted(self, loop: Loop, units: DriftingUnits, index: int, day: int) -> Loop:
        """Parameters and optimizer after an interval of unit ``index``."""

    @abc.abstractmethod
    def believed(self, day: int) -> Belief:
        """What the readings of a day are brought back by."""

    @final
    def equalizer(self, units: DriftingUnits, index: int, day: int) -> Equalizer:
        """What brings the readings of unit ``index`` back."""
        setting = units.setting
        return Equalizer(setting, twins(setting, self.believed(day), index))


@final
class Untouched(Method):
    """No adaptation.

    Args:
        first: what is believed on the first day.
    """

    def __init__(self, first: Belief) -> None:
        self._first = first

    def believed(self, day: int) -> Belief:
        return self._first

    def adapted(self, loop: Loop, units: DriftingUnits, index: int, day: int) -> Loop:
        return loop


@final
class OnTwins(Method):
    """Steps of training on the twins that are believed in today; no label of the unit is used.

    Args:
        followed: what is believed of the units on every day.
    """

    def __init__(self, followed: Followed) -> None:
        self._followed = followed

    def believed(self, day: int) -> Belief:
        return self._followed.on(day)

    def adapted(self, loop: Loop, units: DriftingUnits, index: int, day: int) -> Loop:
        setting, physics = units.setting, self.equalizer(units, index, day).twins
        for step in range(setting.config.interval_steps):
            key = ("interval", units.numbers[index], day, step)
            loop = stepped(setting, loop, physics, LATER * setting.config.lr, *key)
        return loop


@final
class FineTuning(Method):
    """Steps of physics-aware training with labelled samples, and with the first day's twins.

    Args:
        first: what is believed on the first day.
        lr: Adam's step size.
        steps: that share the calls of an interval.
    """

    def __init__(self, first: Belief, lr: float, steps: int) -> None:
        self._first, self._lr, self._steps = first, lr, steps

    def believed(self, day: int) -> Belief:
        return self._first

    def adapted(self, loop: Loop, units: DriftingUnits, index: int, day: int) -> Loop:
        setting, count = units.setting, units.setting.config.drives // self._steps
        equalizer = self.equalizer(units, index, day)
        for step in range(self._steps if count else 0):
            devices = equalizer.devices(units.devices(day, index, "tuning", step))
            aware = [PhysicsAware(device, twin) for device, twin in zip(devices, equalizer.twins)]
            key = ("interval", units.numbers[index], day, step)
            loop = stepped(setting, loop, aware, self._lr, *key, count=count)
        return loop


def lived(
    setting: Setting, units: DriftingUnits, index: int, method: Method, first: Params
) -> Tensor:
    """Test accuracy of one unit, on the first day and after every interval, (intervals + 1,).

    Judging is nobody's budget.
    """
    loop, found = begin(first, 1), []
    for day in range(setting.config.intervals + 1):
        loop = method.adapted(loop, units, index, day) if day else loop
        equalizer = method.equalizer(units, index, day)
        devices = equalizer.devices(units.devices(day, index, "judging"))
        found.append(setting.accuracy(loop.learned, devices, setting.data.test))
    return torch.tensor(found, dtype=torch.float64)


EVERY = 5
"""Intervals between two looks where a rate is chosen."""


def score(
    setting: Setting, units: DriftingUnits, index: int, method: Method, first: Params
) -> float:
    """Mean accuracy over time on the samples that choices are made on; 0 where training fails."""
    loop, found = begin(first, 1), []
    try:
        for day in range(1, setting.config.intervals + 1):
            loop = method.adapted(loop, units, index, day)
            if day % EVERY == 0 or day == setting.config.intervals:
                equalizer = method.equalizer(units, index, day)
                devices = equalizer.devices(units.devices(day, index, "choosing"))
                found.append(setting.accuracy(loop.learned, devices, setting.choosing))
    except FloatingPointError:
        return 0.0
    return math.fsum(found) / len(found)
