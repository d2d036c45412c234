"""From a configuration to its setting: the network, data and units of meta-training."""

from __future__ import annotations

from typing import Any

import torch

from metaphys.physics import Converter, Unknowns
from metaphys.training import _problem
from metaphys.training._config import Config
from metaphys.training._kinds import KINDS, deviation
from metaphys.training._options import alike
from metaphys.training._problem import Problem
from metaphys.training.recalibration._config import RecalibrationConfig
from metaphys.training.recalibration._controls import cancelled
from metaphys.training.recalibration._prior import Prior
from metaphys.training.recalibration._setting import Correction, Setting

BROADER = 2.0
"""A guess is this much broader than the tolerances that are stated."""

DRAWS = {"plate": 1000}
"""Where the descent to a unit's mismatch begins at the nearest of some units of the prior: modes
that are off by a period over the waveform make local minima."""


def build(config: RecalibrationConfig) -> Setting:
    """The setting that a configuration describes.

    Raises:
        ValueError, FileNotFoundError: the data cannot be had or do not fit the system.

    Example:
        >>> setting = build(RecalibrationConfig(spread=0.5))
        >>> setting.nominal, setting.config.budgets
        ((OscillatorArray(26, steps=5, dt=0.1),), (50, 100, 250))
        >>> setting = build(RecalibrationConfig(system="plate", layers=3))
        >>> setting.guess.unknowns.size, [m.device.calls for m in setting.measurements(3, most=60)]
        (22, [0, 0, 0])
    """
    return setting_of(problem_of(config), config)


def problem_of(config: RecalibrationConfig) -> Problem:
    """The same network, data and population as meta-training has them."""
    array = config.system == "oscillators"
    default = (4 if array else 2) if config.dataset == "mnist" else (2 if array else 1)
    own: dict[str, Any] = {"data": config.dataset}
    own["pool"] = default if config.pool is None else config.pool
    shared = "system data_root units gain gain_spread noise coupling_limit"
    if array:  # the initial controls of all seeds come from one network
        own["coupling_spread"] = config.spread
    else:
        shared += " spread layers judged seed"
    return _problem.build(alike(Config, config, shared, labels=1, queries=1, **own))


def setting_of(problem: Problem, config: RecalibrationConfig) -> Setting:
    """The setting of a problem of meta-training.

    Args:
        problem: the network, its data, and where units come from.
        config: what is done to a unit; of the same system.
    """
    array, kind = config.system == "oscillators", KINDS[config.system]
    return Setting(
        config,
        problem.data,
        problem.network,
        populations=problem.populations,
        nominal=problem.twins.nominal,
        guess=guess_of(problem, config),
        initial=problem.started,
        low=-config.amplitude if array else kind.low,
        high=config.amplitude if array else kind.high,
        correct=_taken_back(config) if array else None,
        converters=_converters(config) if array else {},
    )


def guess_of(problem: Problem, config: RecalibrationConfig, layer: int = 0) -> Prior:
    """What is thought of a layer: broad, around 0, since nobody has seen a unit."""
    unknowns: Unknowns = problem.twins.unknowns[layer]
    if config.system == "oscillators":
        return Prior(unknowns, 0.01)
    mean, spread = unknowns.moments()
    broad = unknowns.with_moments(torch.stack([mean, BROADER * spread]))
    noise = 0.1 * deviation(problem.twins.nominal[layer], KINDS[config.system])
    return Prior(broad, noise, DRAWS.get(config.system, 0))


def _taken_back(config: RecalibrationConfig) -> Correction:
    def correct(params: Any, unit: Any) -> Any:
        for layer, system in enumerate(unit):
            offset = system.mismatch.coupling
            params = cancelled(params, offset, config.coupling_limit, layer=layer)
        return params

    return correct


def _converters(config: RecalibrationConfig) -> dict[str, Converter]:
    if config.bits is None or config.coupling_limit is None:
        return {}
    limits = {"coupling": config.coupling_limit, "force": config.force_limit}
    return {name: Converter(config.bits, -most, most) for name, most in limits.items()}
