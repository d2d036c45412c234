"""The classical rival: fit the twin to a unit's readouts of random drives, train on the twin."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from metaphys.data import Split
from metaphys.training._draws import VALIDATION_UNITS, Params
from metaphys.training._fleet import Fleet
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

CHOOSING = range(VALIDATION_UNITS, VALIDATION_UNITS + 3)
"""Units that the start of training on a twin is chosen on."""


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


def start_step(
    problem: Problem, setting: Setting, starts: Sequence[Params]
) -> Callable[[Tensor, int], Tensor]:
    """Where training on a twin begins best: one start on one unit, as though its fit were exact.

    Simulated validation units are their own twins, so that the choice takes no fit and asks no
    hardware. Starts differ by more than fits do: on crystals training on the twin of a unit ends at
    94 % from the population start and, of one seed, at 58 % from the in-silico one.

    The state is the accuracy on validation samples, (S, V) float64. Where a data set has no others
    than those of training, which the twin is trained on, all starts that learn them tie.
    """
    problem = problem.simulated
    key = (problem.config.seed, "start of the fitted twin")

    def step(accuracy: Tensor, index: int) -> Tensor:
        which, place = divmod(index, len(CHOOSING))
        unit, accuracy = CHOOSING[place], accuracy.clone()
        found = on_twin(setting, starts[which], setting.simulated(unit), (*key, unit))
        reached = _alone(problem.fleet([unit], *key), found, problem.choosing)
        accuracy[which, place] = reached
        return accuracy

    return step


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
        found = on_twin(setting, start, known.twin, (problem.config.seed, seed))
        reached = _alone(fleet, found, problem.data.test)
        return torch.cat([accuracy[:index], reached.unsqueeze(0), accuracy[index + 1 :]])

    return step


def _alone(fleet: Fleet, params: Params, part: Split) -> Tensor:
    """The accuracy, (), of the only unit there is."""
    own = {name: value.unsqueeze(0) for name, value in params.items()}
    (reached,) = measured(fleet, own, part)
    return reached


def _fitted(guesses: Sequence[Prior], layers: Sequence[Measurement], share: int) -> Known:
    """Each layer by itself: the arrays of a network differ in size."""
    each = [
        gauss_newton(guess, [layer], share, draws=guess.draws)
        for guess, layer in zip(guesses, layers, strict=True)
    ]
    return Known(tuple(known.posteriors[0] for known in each), sum(known.calls for known in each))
