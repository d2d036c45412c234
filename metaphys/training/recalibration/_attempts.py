"""Controls for a unit that somebody made, what they cost, and what they reach on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from metaphys.training._draws import Params
from metaphys.training.recalibration._setting import Setting


class Attempt(NamedTuple):
    """Controls for one unit.

    Attributes:
        params: the network's parameters.
        labels: labelled samples that the unit had to see for them.
        calls: device calls.
        seconds: of the clock.
    """

    params: Params
    labels: int = 0
    calls: int = 0
    seconds: float = 0.0


Attempts = Callable[[int], Sequence[Attempt]]
"""From a unit's seed to controls for it, one for each name under which they are judged."""


class Reached(NamedTuple):
    """What some methods reached on some units, each (units, methods).

    Attributes:
        accuracy: on test samples, measured; these calls are nobody's budget.
        labels: see :class:`Attempt`.
        calls: likewise.
        seconds: likewise; the only numbers that are others when a run is repeated.
    """

    accuracy: Tensor
    labels: Tensor
    calls: Tensor
    seconds: Tensor


def nothing(units: int, methods: int) -> Reached:
    """Before the first unit."""
    real, whole = torch.zeros(units, methods, dtype=torch.float64), torch.zeros(units, methods)
    return Reached(real, whole.long(), whole.long(), real.clone())


def judging(
    setting: Setting, units: Sequence[int], attempts: Attempts
) -> Callable[[Reached, int], Reached]:
    """A step judges one unit."""

    def step(state: Reached, index: int) -> Reached:
        unit, last, accuracy, found = units[index], None, 0.0, []
        for attempt in attempts(unit):
            if last is None or attempt.params is not last:  # the same controls reach the same
                last = attempt.params
                accuracy = setting.accuracy(last, setting.devices(unit), setting.data.test)
            found.append((accuracy, attempt.labels, attempt.calls, attempt.seconds))
        columns = [torch.tensor(each, dtype=torch.float64) for each in zip(*found, strict=True)]
        state = Reached(*(part.clone() for part in state))
        for part, column in zip(state, columns, strict=True):
            part[index] = column.to(part)
        return state

    return step


def rows(
    names: Sequence[str], seed: int, units: Sequence[int], reached: Reached
) -> list[dict[str, Any]]:
    """The rows of ``metrics.csv``, and the seconds, which are not in it."""
    return [
        {
            "method": name,
            "seed": seed,
            "unit": unit,
            "labels": int(reached.labels[index, column]),
            "device_calls": int(reached.calls[index, column]),
            "accuracy": round(float(reached.accuracy[index, column]), 6),
            "seconds": round(float(reached.seconds[index, column]), 3),
        }
        for column, name in enumerate(names)
        for index, unit in enumerate(units)
    ]
