"""What ``recalibration_units.py`` is about: systems, data, spreads, budgets."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import shg_vowels as shg
import torch
from _rows import scaled as to_range

from metaphys.data import vowels
from metaphys.nn import functional
from metaphys.physics import MismatchUnknowns, Population
from metaphys.training._draws import Params
from metaphys.training.recalibration import Prior, RecalibrationConfig, Setting, build

HERE = Path(__file__).parent
SNR = 30.0  # dB, of the readings on vowels
EXPERIMENTS = {
    "shg-vowels": RecalibrationConfig(
        system="shg",
        data="vowels",
        data_root=HERE,
        batch=50,
        budgets=(8, 64, 250),
        prior_units=8,
        prior_calls=16,
        start_steps=3000,
        twin_steps=80,
        twin_lr=0.02,
    ),
    "plate-mnist": RecalibrationConfig(
        system="plate",
        data="mnist",
        data_root=HERE,
        layers=4,
        noise=0.1,
        spread=1.5,
        batch=64,
        budgets=(8, 250),
        prior_units=5,
        prior_calls=8,
        start_steps=3000,
        twin_steps=500,
    ),
    "circuit-mnist": RecalibrationConfig(
        system="circuit",
        data="mnist",
        data_root=HERE,
        layers=4,
        noise=0.03,
        spread=2.5,
        pool=4,
        batch=64,
        budgets=(4, 40),
        prior_units=5,
        prior_calls=8,
        start_steps=1500,
        twin_steps=300,
        twin_lr=0.05,
    ),
}
"""Spreads, steps and rates were chosen on validation units, seeds 10,000 to 20,000."""

FULL_STEPS = {"shg": 200, "plate": 2000, "circuit": 1500}
"""Of training on the unit's own physics, with a cosine to zero."""

TRAINING_UNITS = 256
"""That a population start is trained over, where a unit's physics is no dearer than its twin's."""


def build_setting(config: RecalibrationConfig) -> Setting:
    """The setting of an experiment."""
    return shg_setting(config) if config.system == "shg" else build(config)


def shg_setting(config: RecalibrationConfig, split: int = 0) -> Setting:
    """The network of ``shg_vowels.py``: its set-up, its twin, its spread, and its noise."""
    data = vowels(config.data_root or HERE, seed=split, dtype=torch.float32)
    train, test = to_range(data.train, data.test, 0.0, 1.0)
    network = shg.network(shg.TWIN, 0).requires_grad_(False)
    sigma = network.deviation * 10 ** (-SNR / 20)
    stated = MismatchUnknowns(shg.TWIN, shg.SPREAD)
    mean, deviation = stated.moments()
    guess = stated.with_moments(torch.stack([mean, 2 * deviation]))
    return Setting(
        config,
        dataclasses.replace(data, train=train, test=test),
        network,
        tuple(
            Population(shg.HARDWARE, shg.SPREAD, sigma, key=f"layer {n}") for n in range(shg.LAYERS)
        ),
        (shg.TWIN,) * shg.LAYERS,
        Prior(guess, 0.1 * network.deviation),
        initial,
        low=0.0,
        high=1.0,
    )


def initial(seed: int) -> Params:
    """The first drives of a seed."""
    _, params = functional(shg.network(shg.TWIN, seed))
    return params
