"""A new unit: measure, infer, take back, train on the twin; as far as a budget goes."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence
from typing import NamedTuple

import torch

from metaphys.physics import Posterior
from metaphys.training._draws import Params, generator
from metaphys.training.recalibration._measurement import Measurement
from metaphys.training.recalibration._prior import Prior, inferred
from metaphys.training.recalibration._setting import Setting, Unit
from metaphys.training.recalibration._start import Units, answering, learn_start

CHECKED = 10
"""Further drives that a twin has to predict before measuring ends."""

TOLD = 0.05
"""And how well, at least, it has to know a score, in deviations of the prior (rms of all)."""

PREDICTED = 3.0
"""How far off, in deviations of the noise, a prediction may be."""


class Known(NamedTuple):
    """What a budget of device calls told of a unit.

    Attributes:
        posteriors: of the mismatch of each layer.
        calls: device calls that were taken, at most the budget.
        seconds: of the clock, of measuring and fitting all that.
    """

    posteriors: tuple[Posterior, ...]
    calls: int
    seconds: float = 0.0

    @property
    def twin(self) -> Unit:
        """The most probable system of each layer."""
        return tuple(posterior.twin for posterior in self.posteriors)

    def same(self, other: Known) -> bool:
        """Whether nothing was learned between the two."""
        return all(a is b for a, b in zip(self.posteriors, other.posteriors, strict=True))


def identify(prior: Prior, unit: Sequence[Measurement], budgets: Sequence[int]) -> list[Known]:
    """What each of some ascending budgets of device calls tells of a unit.

    Every layer takes its share of a budget. A layer whose twin knows its mismatch to 5 % of the
    spread, and predicts ten further readouts to within the noise, is not fitted again: what is left
    of its share is not spent.
    """
    shares = [budget // len(unit) for budget in budgets]
    layers = [_identified(prior, layer, shares) for layer in unit]
    whole = (zip(*each, strict=True) for each in zip(*layers, strict=True))
    return [Known(tuple(found), sum(calls), math.fsum(seconds)) for found, calls, seconds in whole]


def _identified(
    prior: Prior, layer: Measurement, shares: Sequence[int]
) -> list[tuple[Posterior, int, float]]:
    found: list[tuple[Posterior, int, float]] = []
    settled, began = False, time.perf_counter()
    for share in shares:
        last = found[-1][0] if found else None
        settled = settled or (last is not None and _predicts(last, layer, share))
        if last is None or not settled:
            last = inferred(prior, layer, share, None if last is None else last.z)
        found.append((last, layer.calls, time.perf_counter() - began))
    return found


def adapted(setting: Setting, start: Params, known: Known, key: tuple[object, ...]) -> Params:
    """The start, corrected where it can be, trained on units drawn from the posterior."""
    params = start if setting.correct is None else setting.correct(start, known.twin)
    return trained(setting, params, _drawn(known, key), key)


def trained(setting: Setting, params: Params, units: Units, key: tuple[object, ...]) -> Params:
    """``twin_steps`` steps of training from ``params``."""
    config = setting.config
    samples = dataclasses.replace(config, batch=config.twin_batch or config.batch)
    return learn_start(
        dataclasses.replace(setting, config=samples),
        params,
        units,
        steps=config.twin_steps,
        lr=config.twin_lr or config.rate,
        key=(*key, "twin"),
    )


DRAWS = 16
"""Units drawn from a posterior that training on it goes round."""


def _drawn(known: Known, key: tuple[object, ...]) -> Units:
    source, dtype = generator(*key, "posterior"), torch.get_default_dtype()
    layers = [
        [answering(p.unknowns, z, p.z) for z in p.scores(DRAWS, source).to(dtype)]
        for p in known.posteriors
    ]
    drawn = list(zip(*layers, strict=True))
    return lambda index: drawn[index % DRAWS]


def _predicts(posterior: Posterior, unit: Measurement, budget: int) -> bool:
    if posterior.variance.mean().sqrt() > TOLD:
        return False
    seen = unit.calls
    drives, readouts = unit.first(min(seen + CHECKED, budget))
    left = (posterior.twin(drives, unit.controls) - readouts)[seen:]
    return bool(left.square().mean().sqrt() <= PREDICTED * posterior.noise)
