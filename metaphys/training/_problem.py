"""What is trained: data, a physical network, and the population of units that it runs on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from metaphys import data as datasets
from metaphys._errors import check
from metaphys.data import Dataset, Split
from metaphys.physics import (
    Device,
    Population,
    SimulatedDevice,
    System,
    WithArchive,
    WithNoise,
)
from metaphys.physics.spice._process import find_ngspice
from metaphys.training._config import Config
from metaphys.training._data import choosing, held, pooled, some
from metaphys.training._draws import Params, generator, seed_of
from metaphys.training._fleet import Fleet, Twins, running
from metaphys.training._kinds import KINDS
from metaphys.training._network import systems_of, trainable, with_head
from metaphys.training._populations import populations, unknowns
from metaphys.training._spice import in_ngspice
from metaphys.training._tuned import TUNED


@dataclass(frozen=True)
class Problem:
    """A network on a population, in functional form.

    Attributes:
        config: what it was built from.
        data: the data set as the network takes it.
        network: the physical network, on its nominal systems.
        initial: the parameters to start from.
        populations: where the units of each layer come from, noise included.
        twins: what derivatives go through.
        archive: where ngspice's readouts are kept as they are taken; ``None``: nowhere.
    """

    config: Config
    data: Dataset
    network: nn.Module
    initial: Params
    populations: tuple[Population, ...]
    twins: Twins
    archive: Path | None = None
    _systems: dict[tuple[int, ...], list[System]] = field(default_factory=dict, repr=False)

    @property
    def apply(self) -> Callable[[Params, Tensor], Tensor]:
        """``apply(params, inputs) -> logits``, pure, on the nominal systems."""
        return running(self.network, *self.twins.nominal)

    @property
    def choosing(self) -> Split:
        """Samples that choices are made on."""
        return choosing(self.data, TUNED[self.config.system].chosen_on)

    def started(self, seed: int) -> Params:
        """The parameters that another seed starts from."""
        return trainable(_network(dataclasses.replace(self.config, seed=seed), self.data))

    @property
    def learning(self) -> Problem:
        """The same on the units that are learned and tuned on, as the configuration has it."""
        return self if self.config.learned_on == "device" else self.simulated

    @property
    def simulated(self) -> Problem:
        """The same on simulated units."""
        config = dataclasses.replace(self.config, device="simulated")
        return dataclasses.replace(self, config=config, archive=None)

    def fleet(self, units: Sequence[int], *noise_key: object) -> Fleet:
        """The units of these seeds, with readout noise that depends on ``noise_key`` alone."""
        if self.config.device == "simulated":
            layers = enumerate(self._simulated(tuple(units)))
            devices = [self._noisy(SimulatedDevice(s), n, units, noise_key) for n, s in layers]
            return Fleet(self.network, self.twins, (tuple(devices),), len(units), batched=True)
        groups = [
            tuple(
                self._noisy(in_ngspice(population.simulated(unit)), layer, [unit], noise_key)
                for layer, population in enumerate(self.populations)
            )
            for unit in units
        ]
        return Fleet(self.network, self.twins, tuple(groups), len(units), batched=False)

    def bench(self, devices: Sequence[Device]) -> Fleet:
        """One unit of which somebody has the devices, one for each layer.

        Raises:
            ValueError: another number of them than layers, or with other ports.
        """
        layers = self.populations
        expected = f"{len(layers)}, one for each layer"
        check(len(devices) == len(layers), "devices", expected=expected, got=len(devices))
        for device, population in zip(devices, layers):
            ports = population.system.ports
            check(device.ports == ports, "devices", expected=f"with {ports}", got=device.ports)
            check(device.units == (), "devices", expected="one unit each", got=device.units)
        own = tuple(self.config.patiently(device) for device in devices)
        return Fleet(self.network, self.twins, (own,), 1, batched=False)

    def _simulated(self, units: tuple[int, ...]) -> list[System]:
        if units not in self._systems:
            self._systems.clear()
            self._systems[units] = [population.perturbed(units) for population in self.populations]
        return self._systems[units]

    def _noisy(
        self, device: Device, layer: int, units: Sequence[int], noise_key: tuple[object, ...]
    ) -> Device:
        patient, sigma = self.config.patiently(device), self.populations[layer].noise
        if self.archive is not None:
            # Below the noise: what is measured again with other noise is not simulated again.
            patient = WithArchive(patient, self.archive, name=f"unit {units[0]}, layer {layer}")
        if not sigma:
            return patient
        key = (*noise_key, "layer", layer) if layer else noise_key
        seeds = [seed_of(self.config.seed, "noise", unit, *key) for unit in units]
        return WithNoise(patient, sigma, seed=seeds if patient.units else seeds[0])


def build(config: Config) -> Problem:
    """The problem that a configuration describes.

    Raises:
        ValueError, FileNotFoundError: the data cannot be had or do not fit the system, or ngspice
            is not installed.

    Example:
        >>> import torch
        >>> problem = build(Config(units=2))
        >>> problem.apply(problem.initial, torch.rand(3, 64)).shape
        torch.Size([3, 10])
        >>> problem = build(Config(system="plate", layers=2))
        >>> fleet = problem.fleet([20_000, 20_001, 20_002], "an example")
        >>> images = torch.rand(3, 5, 192)
        >>> logits = fleet.each(lambda apply, x: apply(problem.initial, x), (0,), images)
        >>> logits.shape, fleet.calls
        (torch.Size([3, 5, 10]), 10)
    """
    if config.device == "spice":
        find_ngspice("ngspice")  # before hours of training that needs none
    data = _data(config)
    network = _network(config, data)
    initial = trainable(network)
    nominal = systems_of(network)
    twins = Twins(nominal, tuple(unknowns(config, system) for system in nominal))
    return Problem(config, data, network, initial, populations(config, nominal), twins)


def _data(config: Config) -> Dataset:
    data = pooled(datasets.load(config.data, config.data_root), config.pool)
    data = held(data, KINDS[config.system].hold(data.features))
    available = len(data.train)
    check(
        config.labels + config.queries <= available,
        "labels",
        expected=f"at most {available} together with queries, the size of the training set",
        got=f"{config.labels} + {config.queries}",
    )
    return dataclasses.replace(data, test=some(data.test, config.judged))


def _network(config: Config, data: Dataset) -> nn.Module:
    source = generator(config.seed, "initial")
    limits: Any = {"coupling_limit": config.coupling_limit}
    given = limits if config.system == "oscillators" else {}
    network = KINDS[config.system].network(data, config.layers, source, False, **given)
    return with_head(network, data.classes) if "correction" in config.learn else network
