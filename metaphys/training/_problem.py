"""What is trained: data, a physical network, and the population of units that it runs on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from metaphys import data as datasets
from metaphys._errors import check
from metaphys.data import Dataset
from metaphys.nn import OscillatorNetwork, functional, run_on
from metaphys.physics import (
    Device,
    OscillatorSpread,
    PhysicsAware,
    Population,
    SimulatedDevice,
    System,
    WithNoise,
)
from metaphys.training._config import Config
from metaphys.training._data import pooled, some
from metaphys.training._draws import Params, generator, seed_of
from metaphys.training._kinds import LOGIT_SCALE


@dataclass(frozen=True)
class Problem:
    """A network on a population, in functional form.

    Attributes:
        config: what it was built from.
        data: the data set, inputs flattened and pooled.
        network: the physical network, on its nominal system unless inside :meth:`on`.
        apply: ``apply(params, inputs) -> logits``, pure, on whatever the network runs on.
        initial: the parameters to start from.
        population: where units come from.
    """

    config: Config
    data: Dataset
    network: OscillatorNetwork
    apply: Callable[[Params, Tensor], Tensor]
    initial: Params
    population: Population
    _systems: dict[tuple[int, ...], System] = field(default_factory=dict, repr=False)

    def fleet(self, units: Sequence[int], *noise_key: object) -> Device:
        """The units of these seeds, with readout noise that depends on ``noise_key`` alone."""
        key = tuple(units)
        if key not in self._systems:
            self._systems.clear()
            self._systems[key] = self.population.spread.perturb(self.population.system, key)
        device = self.config.patiently(SimulatedDevice(self._systems[key]))
        if not self.config.noise:
            return device
        seeds = [seed_of(self.config.seed, "noise", unit, *noise_key) for unit in key]
        return WithNoise(device, self.config.noise, seed=seeds)

    @contextmanager
    def on(self, device: Device) -> Any:
        """Run the network on a device: forward measures, backward is the twin's."""
        with run_on(self.network, PhysicsAware(device, self.population.system)):
            yield device


CHOOSING = 500
"""Validation images that choices are made on, at most: every choice measures them on ten units."""


def build(config: Config) -> Problem:
    """The problem that a configuration describes.

    Raises:
        ValueError, FileNotFoundError: the data cannot be had.

    Example:
        >>> import torch
        >>> problem = build(Config(units=2))
        >>> problem.apply(problem.initial, torch.rand(3, 64)).shape
        torch.Size([3, 10])
    """
    data = pooled(datasets.load(config.data, config.data_root), config.pool)
    data = dataclasses.replace(data, validation=some(data.validation, CHOOSING))
    available = len(data.train)
    check(
        config.labels + config.queries <= available,
        "labels",
        expected=f"at most {available} together with queries, the size of the training set",
        got=f"{config.labels} + {config.queries}",
    )
    network = OscillatorNetwork(
        data.features,
        data.classes,
        logit_scale=LOGIT_SCALE,
        coupling_limit=config.coupling_limit,
        generator=generator(config.seed, "initial"),
    )
    # Everything learned is passed in; what is left in the network must not gather a graph.
    network.requires_grad_(False)
    apply, params = functional(network)
    del params["logit_scale"]
    spread = OscillatorSpread(
        coupling=config.coupling_spread,
        tolerance=config.tolerance,
        gain=config.gain,
        gain_spread=config.gain_spread,
        per_oscillator=True,
    )
    population = Population(network.systems[0], spread, noise=config.noise)
    return Problem(config, data, network, apply, params, population)
