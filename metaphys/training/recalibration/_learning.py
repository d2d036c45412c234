"""What is learned before a unit that is judged is seen: the prior, starts, rates of fine-tuning."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from metaphys.training._draws import VALIDATION_UNITS, Params
from metaphys.training._phases import Phases
from metaphys.training.recalibration._fine_tuning import KINDS, Kind, score
from metaphys.training.recalibration._prior import Prior, learn_prior
from metaphys.training.recalibration._recalibrate import adapted, identify
from metaphys.training.recalibration._setting import Correction, Setting
from metaphys.training.recalibration._start import Units, always, imagined, training_step

POPULATION = 256
"""Training units that a population start is trained over."""

ANOTHER = 5
"""The training unit whose controls are moved."""


class Learned(NamedTuple):
    """A prior as it is stored: its moments and the noise."""

    moments: Tensor
    noise: Tensor


def the_prior(setting: Setting, phase: Phases) -> Prior:
    """What training units have in common."""
    config, guess, layers = setting.config, setting.guess, len(setting.nominal)

    def learned(state: Learned, index: int) -> Learned:
        units = [
            layer
            for unit in range(config.prior_units)
            for layer in setting.measurements(unit, layers * config.prior_calls)
        ]
        found = learn_prior(guess, units, config.prior_calls, config.prior_rounds)
        noise = torch.tensor(found.noise, dtype=torch.float64)
        return Learned(found.unknowns.moments(), noise)

    moments = guess.unknowns.moments()
    state = Learned(torch.zeros_like(moments), torch.zeros((), dtype=torch.float64))
    found = phase("prior", state, learned, 1)
    unknowns = guess.unknowns.with_moments(found.moments)
    return guess._replace(unknowns=unknowns, noise=float(found.noise))


def in_silico(setting: Setting, phase: Phases) -> Params:
    """Controls that were made for the nominal unit."""
    return _start(setting, phase, "in silico", always(setting.nominal))


def meta_start(setting: Setting, phase: Phases, prior: Prior) -> Params:
    """Controls that are easiest to correct, on units imagined from the prior."""
    units = imagined(prior, len(setting.nominal), setting.config.seed, "imagined")
    return _start(setting, phase, "meta start", units, setting.correct)


def population_start(setting: Setting, phase: Phases, prior: Prior) -> Params:
    """Controls that suit training units; imagined ones where hardware costs more than its twin."""
    name = "population start"
    key, layers = (setting.config.seed, name), len(setting.nominal)
    pairs = zip(setting.populations, setting.nominal, strict=True)
    if not all(population.system is twin for population, twin in pairs):
        return _start(setting, phase, name, imagined(prior, layers, *key))
    known = cache(lambda number: setting.training_unit(*key, number))
    return _start(setting, phase, name, lambda step: known(step % POPULATION))


def _start(
    setting: Setting, phase: Phases, name: str, units: Units, correction: Correction | None = None
) -> Params:
    config = setting.config
    steps, lr, key = config.start_steps, config.start_lr or config.rate, (config.seed, name)
    step = training_step(setting, units, steps=steps, lr=lr, key=key, correction=correction)
    return phase.trained(name, setting.initial(config.seed), step, steps)


def of_another(setting: Setting, phase: Phases, prior: Prior, start: Params) -> Params:
    """Controls that were made for a training unit, as ours are for one that is judged."""
    most = setting.config.budgets[-1]

    def step(params: Params, index: int) -> Params:
        (known,) = identify(prior, setting.measurements(ANOTHER, most), [most])
        return adapted(setting, start, known, (setting.config.seed, "another"))

    return phase("another unit", start, step, 1)


class Chosen(NamedTuple):
    """How fine-tuning from a start was tuned.

    Attributes:
        kinds: for each budget the best on validation units.
        sweeps: for ``summary.json``: all that were tried.
    """

    kinds: dict[int, Kind]
    sweeps: dict[str, Any]


def choose(setting: Setting, phase: Phases, name: str, start: Params) -> Chosen:
    """Every kind of fine-tuning under every budget, on units and samples that judge nobody."""
    config, kinds = setting.config, len(KINDS)
    units = range(VALIDATION_UNITS, VALIDATION_UNITS + config.tuning_units)

    def trial(found: Tensor, index: int) -> Tensor:
        place, found = divmod(index, kinds), found.clone()
        budget, kind = config.budgets[place[0]], KINDS[place[1]]
        found[place] = score(setting, start, units, budget, kind)
        return found

    zero = torch.zeros(len(config.budgets), kinds, dtype=torch.float64)
    found = phase(f"tuning {name}", zero, trial, zero.numel()).tolist()
    chosen, sweeps = {}, {}
    for budget, reached in zip(config.budgets, found, strict=True):
        best = KINDS[max(range(kinds), key=reached.__getitem__)]
        trials = [
            {"optimizer": k.optimizer, "loss": "cross entropy", "lr": k.lr, "accuracy": value}
            for k, value in zip(KINDS, reached, strict=True)
        ]
        chosen[budget] = best
        sweeps[f"{name} under {budget} calls"] = {"chosen": best.name, "sweep": trials}
    return Chosen(chosen, sweeps)
