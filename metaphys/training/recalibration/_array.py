"""One array of oscillators: its network, its populations, and the mismatch that is taken back."""

from __future__ import annotations

from typing import Any

from metaphys.physics import Converter, OscillatorUnknowns
from metaphys.training import _draws, _problem
from metaphys.training._config import Config
from metaphys.training._draws import Params
from metaphys.training._options import alike
from metaphys.training._problem import Problem
from metaphys.training.recalibration._config import RecalibrationConfig
from metaphys.training.recalibration._controls import cancelled
from metaphys.training.recalibration._prior import Prior
from metaphys.training.recalibration._setting import Setting, Unit


def array_problem(config: RecalibrationConfig) -> Problem:
    """The same network, data and population as meta-training has them."""
    data = config.dataset
    assert data != "vowels"  # refused by the configuration
    default = 4 if data == "mnist" else 2
    shared = "data_root units gain gain_spread noise coupling_limit"
    pool = default if config.pool is None else config.pool
    own = {"data": data, "pool": pool, "coupling_spread": config.spread}
    return _problem.build(alike(Config, config, shared, **own))


def array_setting(config: RecalibrationConfig) -> Setting:
    """The setting of oscillators.

    Raises:
        ValueError, FileNotFoundError: the data cannot be had.
    """
    problem = array_problem(config)
    array: Any = problem.network.systems[0]
    limit = config.coupling_limit

    def initial(seed: int) -> Params:
        found = array.init_controls(generator=_draws.generator(seed, "initial"))
        return {f"layers.0.controls.{name}": value for name, value in found.items()}

    def correct(params: Params, unit: Unit) -> Params:
        (system,) = unit
        return cancelled(params, system.mismatch.coupling, limit)

    # Broad, around 0: nobody has seen a unit.
    guess = OscillatorUnknowns(array, 1.0, 0.0, 0.2, per_oscillator=config.gain_spread > 0)
    return Setting(
        config,
        problem.data,
        problem.network,
        populations=(problem.population,),
        nominal=(array,),
        guess=Prior(guess, 0.01),
        initial=initial,
        low=-config.amplitude,
        high=config.amplitude,
        correct=correct,
        converters=_converters(config),
    )


def _converters(config: RecalibrationConfig) -> dict[str, Converter]:
    if config.bits is None or config.coupling_limit is None:
        return {}
    limits = {"coupling": config.coupling_limit, "force": config.force_limit}
    return {name: Converter(config.bits, -most, most) for name, most in limits.items()}
