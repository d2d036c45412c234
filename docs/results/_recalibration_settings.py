"""What ``recalibration_units.py`` is about: systems, data, spreads, budgets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import shg_vowels as shg
import torch
from _amplified import AmplifiedSpread
from _rows import scaled as to_range

from metaphys.data import vowels
from metaphys.nn import functional
from metaphys.physics import SHG, CircuitSpread, MismatchUnknowns, Population, ThinSHG
from metaphys.training._draws import Params
from metaphys.training.recalibration import Prior, RecalibrationConfig, Setting, build

HERE = Path(__file__).parent
SNR = 30.0  # dB, of the readings on vowels
FULL_EPOCHS, FULL_LR = 30, {"plate": 0.01}
"""Of full training: epochs at most, and the first rate, where it is not that of all training."""
NOMINAL_STEPS = {"circuit": 1500}
"""Of training in silico, where it needs fewer than training over the population."""
EXPERIMENTS = {
    "shg-vowels": RecalibrationConfig(
        system="shg",
        data="vowels",
        data_root=HERE,
        batch=50,
        budgets=(64,),
        prior_units=8,
        prior_calls=16,
        prior_rounds=4,
        full_epochs=FULL_EPOCHS,
        start_steps=3000,
        twin_steps=200,
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
        full_epochs=FULL_EPOCHS,
        start_steps=3000,
        twin_steps=500,
    ),
    "circuit-mnist": RecalibrationConfig(
        system="circuit",
        data="mnist",
        data_root=HERE,
        layers=4,
        noise=0.03,
        spread=3.0,
        pool=4,
        batch=64,
        budgets=(40,),
        prior_units=5,
        prior_calls=8,
        full_epochs=FULL_EPOCHS,
        start_steps=24_000,
        twin_steps=2000,
        twin_lr=0.1,
        twin_batch=256,
    ),
}
"""Spreads, steps and rates were chosen on validation units, seeds 10,000 to 20,000."""

TRAINING_UNITS = 256
"""That a population start is trained over, where a unit's physics is no dearer than its twin's."""


PUMP = {**shg.SETUP, "crystal": replace(shg.SETUP["crystal"], coupling=4.0)}
"""G L = 2: the pump is depleted, which a thin crystal leaves out."""
SPREAD = replace(shg.SPREAD, dk0=3.0)
CRYSTAL, THIN = SHG(**PUMP, steps=4), ThinSHG(**PUMP)

LIMITS, DIFFERING = (4.0, 3.0), 0.1
"""Of the amplifiers before and behind a circuit, V, and the deviation of their logarithms."""

RICHER = {
    "shg": {"depletion": torch.tensor([0.5, 0.1])},
    "circuit": {"source": torch.tensor(0.2), "reading": torch.tensor(0.2)},
}
"""Deviations of what the nominal twin leaves out: nobody is told more of it than that it is there.
What it is like is learned from the readouts of training units, with the rest of the prior."""

BEGUN = {"shg": "population start"}
"""Where ours and full training begin, if not at the in-silico start."""


def build_setting(config: RecalibrationConfig) -> Setting:
    """The setting of an experiment, its twin the nominal one."""
    if config.system == "shg":
        return shg_setting(config)
    built = build(config)
    return amplified(built) if config.system == "circuit" else built


def amplified(setting: Setting) -> Setting:
    """The same circuits behind amplifiers that saturate."""

    def behind(population: Population) -> Population:
        assert isinstance(population.spread, CircuitSpread)
        return replace(population, spread=AmplifiedSpread(population.spread, LIMITS, DIFFERING))

    return replace(setting, populations=tuple(map(behind, setting.populations)))


def richer(setting: Setting) -> Setting:
    """The same with the twin whose prior is learned."""
    more = RICHER.get(setting.config.system)
    unknowns = setting.guess.unknowns
    if more is None or not isinstance(unknowns, MismatchUnknowns):
        return setting
    guess = setting.guess._replace(unknowns=unknowns.widened(**more))
    return replace(setting, guess=guess)


def shg_setting(config: RecalibrationConfig, split: int = 0) -> Setting:
    """The network of ``shg_vowels.py`` with its spread and its noise, at twice the coupling."""
    data = vowels(config.data_root or HERE, seed=split, dtype=torch.float32)
    train, test = to_range(data.train, data.test, 0.0, 1.0)
    network = shg.network(THIN, 0).requires_grad_(False)
    sigma = network.deviation * 10 ** (-SNR / 20)
    stated = MismatchUnknowns(THIN, SPREAD)
    mean, deviation = stated.moments()
    guess = stated.with_moments(torch.stack([mean, 2 * deviation]))
    return Setting(
        config,
        replace(data, train=train, test=test),
        network,
        tuple(Population(CRYSTAL, SPREAD, sigma, key=f"layer {n}") for n in range(shg.LAYERS)),
        (THIN,) * shg.LAYERS,
        Prior(guess, 0.1 * network.deviation),
        initial,
        low=0.0,
        high=1.0,
    )


def initial(seed: int) -> Params:
    """The first drives of a seed."""
    _, params = functional(shg.network(THIN, seed))
    return params
