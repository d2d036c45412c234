"""The classical rival: fit the twin to a unit's readouts of random drives, train on the twin."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from metaphys.training._draws import Params
from metaphys.training._judge import measured
from metaphys.training._options import alike
from metaphys.training._problem import Problem
from metaphys.training._tuned import TUNED
from metaphys.training.recalibration import (
    Known,
    Measurement,
    Prior,
    RecalibrationConfig,
    Setting,
    gauss_newton,
    on_twin,
)
from metaphys.training.recalibration._build import guess_of, setting_of

MOST = 120
"""Random drives of a layer that a twin is fitted to: beyond, nothing is learned that accuracy shows
(74 oscillators: 60 leave an error of 26 % in the couplings' offsets, 120 of 3 %)."""


def classical_setting(problem: Problem) -> Setting:
    """The same network and units, measured with random drives."""
    config = problem.config
    own = {
        "spread": config.coupling_spread if config.system == "oscillators" else config.spread,
        "budgets": (max(min(config.calls, MOST * config.layers), config.layers),),
        "twin_lr": TUNED[config.system].twin,
        "batch": 50,
    }
    shared = "system data data_root pool seed layers judged noise gain gain_spread"
    shared += " coupling_limit units twin_steps attempts timeout"
    return setting_of(problem, alike(RecalibrationConfig, config, shared, **own))


def classical_step(
    problem: Problem, setting: Setting, start: Params, units: list[int]
) -> Callable[[Tensor, int], Tensor]:
    """One unit: random drives for the calls that others spend on samples, Gauss-Newton, training.

    The state is the accuracy of each unit, (U,) float64.
    """
    budget = setting.config.budgets[-1]
    guesses = [guess_of(problem, setting.config, n) for n in range(len(setting.nominal))]

    def step(accuracy: Tensor, index: int) -> Tensor:
        seed = units[index]
        key = (problem.config.seed, "fitted twin")
        fleet = problem.fleet([seed], *key, "test")
        devices = None if fleet.batched else problem.fleet([seed], *key, "fit").groups[0]
        layers = setting.measurements(seed, budget, devices)
        known = _fitted(guesses, layers, budget // len(layers))
        found = on_twin(setting, start, known, (problem.config.seed, seed))
        own = {name: value.unsqueeze(0) for name, value in found.items()}
        reached = measured(fleet, own, problem.data.test)
        return torch.cat([accuracy[:index], reached, accuracy[index + 1 :]])

    return step


def _fitted(guesses: Sequence[Prior], layers: Sequence[Measurement], share: int) -> Known:
    """Each layer by itself: the arrays of a network differ in size."""
    each = [
        gauss_newton(guess, [layer], share, draws=guess.draws)
        for guess, layer in zip(guesses, layers, strict=True)
    ]
    return Known(tuple(known.posteriors[0] for known in each), sum(known.calls for known in each))
