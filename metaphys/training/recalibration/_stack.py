"""Layers of plates, circuits or second-harmonic generation, as ``metaphys train`` builds them."""

from __future__ import annotations

import torch

from metaphys.physics import MismatchUnknowns, Population
from metaphys.training._draws import Params
from metaphys.training._kinds import KINDS, deviation, scaled
from metaphys.training._options import alike
from metaphys.training.recalibration._config import RecalibrationConfig
from metaphys.training.recalibration._prior import Prior
from metaphys.training.recalibration._setting import Setting
from metaphys.training.unit import TrainConfig
from metaphys.training.unit._machine import Machine, build_machine, build_network

BROADER = 2.0
"""A guess is this much broader than the tolerances that are stated."""

DRAWS = {"plate": 1000}
"""Where the descent to a unit's mismatch begins at the nearest of some units of the prior: modes
that are off by a period over the waveform make local minima."""


def stack_setting(config: RecalibrationConfig) -> Setting:
    """The setting of layers of one system.

    Raises:
        ValueError, FileNotFoundError: the data cannot be had or do not fit the system.
    """
    machine = build_machine(_training(config, config.seed))
    return Setting(
        config,
        machine.data,
        machine.network,
        populations=_populations(config, machine),
        nominal=machine.nominal,
        guess=_guess(config, machine),
        initial=lambda seed: _initial(config, machine, seed),
        low=KINDS[config.system].low,
        high=KINDS[config.system].high,
    )


def _training(config: RecalibrationConfig, seed: int) -> TrainConfig:
    assert config.system != "oscillators"
    default = 2 if config.dataset == "mnist" else 1
    pool = default if config.pool is None else config.pool
    own = {"data": config.dataset, "pool": pool, "seed": seed}
    return alike(TrainConfig, config, "system data_root layers spread noise judged", **own)


def _populations(config: RecalibrationConfig, machine: Machine) -> tuple[Population, ...]:
    kind = KINDS[config.system]
    spread = scaled(kind.spread, config.spread)
    many = config.layers > 1
    return tuple(
        Population(kind.hardware(system), spread, sigma, key=f"layer {layer}" if many else "")
        for layer, (system, sigma) in enumerate(zip(machine.nominal, machine.sigma))
    )


def _guess(config: RecalibrationConfig, machine: Machine) -> Prior:
    kind, system = KINDS[config.system], machine.nominal[0]
    stated = MismatchUnknowns(system, scaled(kind.spread, config.spread))
    mean, spread = stated.moments()
    broad = stated.with_moments(torch.stack([mean, BROADER * spread]))
    return Prior(broad, 0.1 * deviation(system, kind), DRAWS.get(config.system, 0))


def _initial(config: RecalibrationConfig, machine: Machine, seed: int) -> Params:
    _, params = build_network(_training(config, seed), KINDS[config.system], machine.data)
    return params
