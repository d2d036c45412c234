"""The classical rival: regularised Gauss-Newton, then training on the twin that it fits."""

from __future__ import annotations

import math
from collections.abc import Sequence

from metaphys.physics import Posterior, infer
from metaphys.training._draws import Params
from metaphys.training.recalibration._measurement import Measurement
from metaphys.training.recalibration._prior import LEAST, Prior
from metaphys.training.recalibration._recalibrate import Known, trained
from metaphys.training.recalibration._setting import Setting, Unit
from metaphys.training.recalibration._start import always

STEPS = 15
"""Gauss-Newton steps of each of two rounds."""


def gauss_newton(
    guess: Prior, unit: Sequence[Measurement], budget: int, *, draws: int = 0
) -> Known:
    """The most probable mismatch of a unit under a prior that nobody learned.

    The regularisation is the guess. The noise is not told: the first round takes the guess's, the
    second MacKay's estimate |f − y|² / (n − γ) from what the first left.

    Args:
        guess: what is thought of the unknowns before any unit was seen.
        unit: its layers, which share the budget evenly; all of it is spent.
        budget: device calls.
        draws: units of the guess that the descent looks for a start among.

    Example:
        >>> from metaphys.training.recalibration import RecalibrationConfig, build
        >>> setting = build(RecalibrationConfig(spread=0.5))
        >>> known = gauss_newton(setting.guess, setting.measurements(20_000, 30), 30)
        >>> (truth,), (twin,) = setting.simulated(20_000), known.twin
        >>> offset = truth.mismatch.coupling
        >>> error = twin.mismatch.coupling - (offset + offset.mT) / 2
        >>> known.calls, bool(error.fill_diagonal_(0).abs().max() < 0.02)
        (30, True)
    """
    share = budget // len(unit)
    found = tuple(_fitted(guess, layer, share, draws) for layer in unit)
    return Known(found, share * len(unit))


def _fitted(guess: Prior, layer: Measurement, share: int, draws: int) -> Posterior:
    drives, readouts = layer.first(share)

    def fit(noise: float, first: Posterior | None) -> Posterior:
        return infer(
            guess.unknowns,
            drives,
            readouts,
            noise=noise,
            controls=layer.controls,
            start=None if first is None else first.z,
            draws=draws if first is None else 0,
            steps=STEPS,
        )

    first = fit(guess.noise, None)
    free = max(readouts.numel() - first.used, 1.0)
    left = first.misfit * math.sqrt(readouts.numel() / free)
    return fit(max(min(guess.noise, left), LEAST * guess.noise), first)


def on_twin(setting: Setting, start: Params, twin: Unit, key: tuple[object, ...]) -> Params:
    """The start, corrected where it can be, trained on one twin alone.

    Example:
        >>> from metaphys.training.recalibration import RecalibrationConfig, build
        >>> setting = build(RecalibrationConfig(batch=10, twin_steps=2))
        >>> known = gauss_newton(setting.guess, setting.measurements(20_000, 8), 8)
        >>> adapted = on_twin(setting, setting.initial(0), known.twin, ("an example",))
        >>> list(adapted)
        ['layers.0.controls.coupling', 'layers.0.controls.force']
    """
    params = start if setting.correct is None else setting.correct(start, twin)
    return trained(setting, params, always(twin), key)
