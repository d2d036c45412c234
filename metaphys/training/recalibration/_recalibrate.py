"""A new unit: measure, infer, cancel, train on the twin; as far as a budget goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from metaphys.physics import OscillatorArray, Posterior
from metaphys.training._problem import Params, generator
from metaphys.training.recalibration._controls import cancelled
from metaphys.training.recalibration._measurement import Measurement
from metaphys.training.recalibration._prior import Prior, inferred
from metaphys.training.recalibration._setting import Setting
from metaphys.training.recalibration._start import Units, learn_start

CHECKED = 10
"""Further drives that a twin has to predict before measuring ends."""

TOLD = 0.05
"""And how well, at least, it has to know a score, in deviations of the prior (rms of all)."""

PREDICTED = 3.0
"""How far off, in deviations of the noise, a prediction may be."""


class Known(NamedTuple):
    """What a budget of device calls told of a unit.

    Attributes:
        posterior: of its mismatch.
        calls: device calls that were taken, at most the budget.
    """

    posterior: Posterior
    calls: int


def identify(prior: Prior, unit: Measurement, budgets: Sequence[int]) -> list[Known]:
    """What each of some ascending budgets of device calls tells of a unit.

    A twin that knows its mismatch to 5 % of the spread, and predicts ten further readouts to within
    the noise, is not fitted again: what is left of the budget is not spent.
    """
    found: list[Known] = []
    settled = False
    for budget in budgets:
        settled = settled or (bool(found) and _predicts(found[-1].posterior, unit, budget))
        if settled:
            posterior = found[-1].posterior
        else:
            posterior = inferred(prior, unit, budget, found[-1].posterior.z if found else None)
        found.append(Known(posterior, unit.calls))
    return found


def adapted(
    setting: Setting, start: Params, posterior: Posterior, key: tuple[object, ...]
) -> Params:
    """The start with the mismatch cancelled, trained on units drawn from the posterior."""
    config, twin = setting.config, posterior.twin
    params = cancelled(start, twin.mismatch.coupling, config.coupling_limit)
    return trained(setting, params, _drawn(posterior, key), key)


def trained(setting: Setting, params: Params, units: Units, key: tuple[object, ...]) -> Params:
    """``twin_steps`` steps of training from ``params``."""
    config = setting.config
    return learn_start(
        setting, params, units, steps=config.twin_steps, lr=config.twin_lr, key=(*key, "twin")
    )


DRAWS = 16
"""Units drawn from a posterior that training on it goes round."""


def _drawn(posterior: Posterior, key: tuple[object, ...]) -> Units:
    fleet = posterior.draw(DRAWS, generator(*key, "posterior")).mismatch
    kind = type(fleet)

    def unit(index: int) -> OscillatorArray:
        n = index % DRAWS
        return posterior.twin.with_mismatch(kind(coupling=fleet.coupling[n], gain=fleet.gain[n]))

    return unit


def _predicts(posterior: Posterior, unit: Measurement, budget: int) -> bool:
    if posterior.variance.mean().sqrt() > TOLD:
        return False
    seen = unit.calls
    drives, readouts = unit.first(min(seen + CHECKED, budget))
    left = (posterior.twin(drives, unit.controls) - readouts)[seen:]
    return bool(left.square().mean().sqrt() <= PREDICTED * posterior.noise)
