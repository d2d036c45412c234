"""Fine-tuning: a few physics-aware steps on labelled samples, at a rate that was chosen before."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

import torch

import metaphys
from metaphys.physics import Device, PhysicsAware
from metaphys.training._adaptation import cross_entropy
from metaphys.training._data import choosing
from metaphys.training._draws import Params
from metaphys.training._kinds import within
from metaphys.training._tuned import TUNED
from metaphys.training.recalibration._attempts import Attempt
from metaphys.training.recalibration._setting import Setting

RULES = {"SGD": metaphys.sgd, "Adam": metaphys.adam}


class Kind(NamedTuple):
    """An optimizer and its step size."""

    optimizer: str
    lr: float

    @property
    def name(self) -> str:
        """For a person."""
        return f"{self.optimizer}, lr {self.lr:g}"


KINDS = (
    *(Kind("SGD", lr) for lr in (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)),
    *(Kind("Adam", lr) for lr in (0.003, 0.01, 0.03, 0.1)),
)
"""What the rate is chosen among."""


def fine_tuned(
    setting: Setting, start: Params, devices: Sequence[Device], unit: int, budget: int, kind: Kind
) -> Attempt:
    """As many steps as the configuration has, or as a budget has calls of each layer.

    The forward pass is measured, the derivatives are those of the nominal systems.
    """
    config, layers = setting.config, len(setting.nominal)
    steps = min(config.fine_steps, budget // layers)
    count = budget // (layers * steps)
    began, before = time.perf_counter(), calls_of(devices)
    moved = tuple(PhysicsAware(device, twin) for device, twin in zip(devices, setting.nominal))
    rule, params = RULES[kind.optimizer](lr=kind.lr), start
    state = rule.init(params)
    for index in range(steps):
        inputs, targets = setting.batch(config.seed, "fine-tuning", unit, index, count=count)
        held = {n: value.detach().requires_grad_() for n, value in params.items()}
        loss = cross_entropy(setting.logits(held, inputs, moved), targets)
        found = torch.autograd.grad(loss, list(held.values()))
        updates, state = rule.update(dict(zip(held, found)), state, params)
        params = metaphys.apply_updates(params, updates, inplace=False)
        params = {name: within(name, value) for name, value in params.items()}
    seconds = time.perf_counter() - began
    return Attempt(params, steps * count, calls_of(devices) - before, seconds)


def calls_of(devices: Sequence[Device]) -> int:
    """Device calls of all layers so far."""
    return sum(device.calls for device in devices)


def score(setting: Setting, start: Params, units: Sequence[int], budget: int, kind: Kind) -> float:
    """Mean accuracy of fine-tuning on units, and on samples, that judge nobody."""
    config = setting.config
    part = choosing(setting.data, min(TUNED[config.system].chosen_on, config.judged))
    found = []
    for unit in units:
        tuned = fine_tuned(setting, start, setting.devices(unit), unit, budget, kind)
        found.append(setting.accuracy(tuned.params, setting.devices(unit), part))
    return sum(found) / len(found)
