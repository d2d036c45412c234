"""What is believed of drifting units, day after day: by a filter, or fitted anew every day."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from metaphys.physics import Belief, DriftFilter, System, learn_walk
from metaphys.training.drifting._setting import Setting
from metaphys.training.drifting._units import DriftingUnits, systems_of

FIRST_STEPS, STEPS = 15, 2
"""Gauss-Newton steps: on the first day, and where yesterday is near."""

GUESS, ROUNDS = 2.0, 2
"""A walk is learned with a guess, so many times too wide, and what is found depends on it a
little: it is learned twice."""


class Followed(NamedTuple):
    """Beliefs of all layers on every day.

    Attributes:
        mean: (days, layers of all units, p), float64.
        covariance: (days, layers of all units, p, p).
    """

    mean: Tensor
    covariance: Tensor

    def on(self, day: int) -> Belief:
        """What was believed on a day."""
        return Belief(self.mean[day], self.covariance[day])


Step = Callable[[Followed, int], Followed]


def unknown(setting: Setting, units: DriftingUnits, days: int) -> Followed:
    """What is known before the first day: the spread."""
    belief = _filter(setting, units, {}).belief
    return Followed(*(part.expand(days + 1, *part.shape).clone() for part in belief))


def filtering(setting: Setting, units: DriftingUnits, walk: Mapping[str, Any]) -> Step:
    """A day of a filter: yesterday's belief, widened by the walk, and today's readouts."""
    each = _filter(setting, units, walk)

    def step(state: Followed, day: int) -> Followed:
        if day == 0:
            return _learned(state, 0, _first_day(setting, units, each, state.on(0)))
        each.belief = state.on(day - 1)
        each.advance()
        each.update(*units.measured(day, setting.config.drives), steps=STEPS)
        return _learned(state, day, each.belief)

    return step


def refitting(setting: Setting, units: DriftingUnits) -> Step:
    """A day of a ridge refit: one linear fit around the first day's twin; no other day is known.

    The ridge is the true walk's deviation over all intervals, more than the filter is told.
    """
    whole = {name: step * setting.config.intervals**0.5 for name, step in setting.walk.items()}
    each = _filter(setting, units, whole)

    def step(state: Followed, day: int) -> Followed:
        if day == 0:
            return _learned(state, 0, _first_day(setting, units, each, state.on(0)))
        each.belief = state.on(0)
        each.advance()
        each.update(*units.measured(day, setting.config.drives), steps=1)
        return _learned(state, day, each.belief)

    return step


def learning(setting: Setting, units: DriftingUnits) -> Callable[[Tensor, int], Tensor]:
    """A round of learning the walk from training units: deviations of a step, field by field."""
    days = setting.config.walk_intervals

    def step(walk: Tensor, index: int) -> Tensor:
        state = unknown(setting, units, days)
        day = filtering(setting, units, named(setting, walk))
        for number in range(days + 1):
            state = day(state, number)
        beliefs = [state.on(number) for number in range(1, days + 1)]
        found = learn_walk(setting.twin, setting.spread, beliefs)
        return torch.stack([found[name].square().mean().sqrt() for name in setting.walk])

    return step


def guess(setting: Setting) -> Tensor:
    """A walk to begin learning from."""
    return GUESS * torch.tensor(list(setting.walk.values()), dtype=torch.float64)


def named(setting: Setting, walk: Tensor) -> dict[str, float]:
    """A learned walk by field."""
    return dict(zip(setting.walk, walk.tolist()))


def twins(setting: Setting, belief: Belief, index: int) -> list[System]:
    """The most probable systems of one unit's layers."""
    each = DriftFilter(setting.twin, prior=setting.spread, walk={}, units=belief.mean.shape[:-1])
    each.belief = belief
    return systems_of(each.twin, setting.config.layers * index, setting.config.layers)


def _filter(setting: Setting, units: DriftingUnits, walk: Mapping[str, Any]) -> DriftFilter:
    # The noise is estimated, since a twin also lacks what it does not model.
    return DriftFilter(setting.twin, prior=setting.spread, walk=walk, units=units.fleet)


def _first_day(setting: Setting, units: DriftingUnits, each: DriftFilter, belief: Belief) -> Belief:
    count = setting.config.first_calls // setting.config.layers
    each.belief = belief
    each.update(*units.measured(0, count), steps=FIRST_STEPS)
    return each.belief


def _learned(state: Followed, day: int, belief: Belief) -> Followed:
    mean, covariance = (part.clone() for part in state)
    mean[day], covariance[day] = belief
    return Followed(mean, covariance)
