"""Training one set of parameters by one rule, so that it can be stopped and go on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from metaphys.data import Split
from metaphys.nn import Measured, TrainingRule, run_on
from metaphys.physics import Device
from metaphys.training._adaptation import cross_entropy
from metaphys.training._draws import Params, seed_of
from metaphys.training._kinds import within
from metaphys.training._loop import Loop, begin, check_finite, descend
from metaphys.training.unit._machine import Machine, batch

CHUNK = 250
"""Samples that are judged at once."""


class Learning(NamedTuple):
    """The state of training.

    Attributes:
        loop: parameters, optimizer, losses.
        accuracy: (steps,), NaN where nobody looked.
        calls: device calls that training took; looking is not counted.
    """

    loop: Loop
    accuracy: Tensor
    calls: Tensor


def start(params: Params, steps: int) -> Learning:
    """The state before the first step."""
    return Learning(begin(params, steps), torch.full((steps,), math.nan), torch.tensor(0))


def learning_step(
    machine: Machine,
    method: str,
    rule: Callable[[list[Device]], TrainingRule],
    look: Callable[[Params, int], float] | None = None,
) -> Callable[[Learning, int], Learning]:
    """One step; all that is random in it depends on the index alone.

    Args:
        machine: data and devices.
        method: its name, part of the key of the noise.
        rule: from the devices of the step to its training rule.
        look: from parameters and the index to an accuracy, for the curve; ``None`` for no curve.
    """
    config = machine.config
    every = max(1, config.steps // config.looks)

    def step(state: Learning, index: int) -> Learning:
        # All methods see the same samples.
        inputs, targets = batch(machine.data.train, config.batch, config.seed, "batch", index)
        devices = machine.devices(method, index)
        seed = seed_of(config.seed, method, index)
        value, grads = rule(devices)(
            state.loop.learned, inputs, targets, loss=cross_entropy, seed=seed
        )
        check_finite(value)
        calls = state.calls + sum(device.calls for device in devices)
        loop = descend(state.loop, index, config.steps, value, grads, config.lr)
        learned = {name: within(name, value) for name, value in loop.learned.items()}
        accuracy = state.accuracy
        if look is not None and ((index + 1) % every == 0 or index + 1 == config.steps):
            accuracy = accuracy.clone()
            accuracy[index] = look(learned, index)
        return Learning(loop._replace(learned=learned), accuracy, calls)

    return step


@torch.no_grad()
def predicted(network: nn.Module, physics: Sequence[Any], params: Params, inputs: Tensor) -> Tensor:
    """The class of each sample, of the network on some physics."""
    with run_on(network, *physics):
        parts = inputs.split(CHUNK)
        return torch.cat([functional_call(network, params, (x,)).argmax(-1) for x in parts])


def on_unit(machine: Machine, params: Params, part: Split, *key: object) -> Tensor:
    """The class of each sample, measured."""
    physics = [Measured(device) for device in machine.devices(*key)]
    return predicted(machine.network, physics, params, part.inputs)


def accuracy(classes: Tensor, part: Split) -> float:
    """The fraction that is right."""
    return float((classes == part.targets).double().mean())
