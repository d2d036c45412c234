"""What is believed of drifting units, day after day: by a filter, or fitted anew every day."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from metaphys.physics import Belief, DriftFilter, System, learn_walk
from metaphys.training.drifting._setting import Setting
from metaphys.training.drifting._units import DriftingUnits, systems_of

FIRST_STEPS, STEPS = 10, 2
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


def blank(setting: Setting, units: DriftingUnits) -> Belief:
    """What is thought of units before the first call: the spread."""
    return Belief(*(part.clone() for part in _filter(setting, units, {}).belief))


def met(setting: Setting, units: DriftingUnits) -> Belief:
    """What the calls of the first day tell of units of which nothing was known but the spread."""
    each = _filter(setting, units, {})
    each.update(*units.measured(0, setting.config.first_drives), steps=FIRST_STEPS)
    return each.belief


def begun(first: Belief, days: int) -> Followed:
    """The first day's belief for so many later days."""
    return Followed(*(part.expand(days + 1, *part.shape).clone() for part in first))


def filtering(setting: Setting, units: DriftingUnits, walk: Mapping[str, Any]) -> Step:
    """Step i is day i + 1 of a filter: the last belief, widened by the walk, and new readouts."""
    each = _filter(setting, units, walk)
    return lambda state, index: _updated(state, index, units, each, since=index, steps=STEPS)


def refitting(setting: Setting, units: DriftingUnits) -> Step:
    """Step i is day i + 1 of a ridge refit: one linear fit around the first day's twin.

    The ridge is the true walk's deviation over all intervals, more than the filter is told.
    """
    whole = {name: step * setting.config.intervals**0.5 for name, step in setting.walk.items()}
    each = _filter(setting, units, whole)
    return lambda state, index: _updated(state, index, units, each, since=0, steps=1)


def _updated(
    state: Followed, index: int, units: DriftingUnits, each: DriftFilter, *, since: int, steps: int
) -> Followed:
    """A day more, from what was believed on day ``since``."""
    day = index + 1
    each.belief = state.on(since)
    each.advance()
    each.update(*units.measured(day, units.setting.config.drives), steps=steps)
    mean, covariance = (part.clone() for part in state)
    mean[day], covariance[day] = each.belief
    return Followed(mean, covariance)


def learning(
    setting: Setting, units: DriftingUnits, first: Belief
) -> Callable[[Tensor, int], Tensor]:
    """A round of learning the walk from training units: deviations of a step, field by field."""
    days = setting.config.walk_intervals

    def step(walk: Tensor, index: int) -> Tensor:
        state, day = begun(first, days), filtering(setting, units, named(setting, walk))
        for number in range(days):
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
