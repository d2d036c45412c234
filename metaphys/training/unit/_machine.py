"""The machine of a run: data, a network, its twins, and the unit that it is trained on."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from metaphys import data as datasets
from metaphys.data import Dataset, Split
from metaphys.nn import PhysicalLayer
from metaphys.physics import (
    Device,
    Population,
    SimulatedDevice,
    System,
    WithArchive,
    WithNoise,
)
from metaphys.training._data import choosing, held, pooled, some
from metaphys.training._draws import Params, generator, seed_of
from metaphys.training._kinds import KINDS, Kind, deviation, scaled
from metaphys.training._network import systems_of, trainable, with_head
from metaphys.training._spice import in_ngspice
from metaphys.training.unit._config import TrainConfig

CHOOSING = 200
"""Validation images of the learning curve, at most."""


@dataclass(frozen=True)
class Machine:
    """Everything that is trained, and on what.

    Attributes:
        config: what it was built from.
        data: the data set as the network takes it.
        plain: the same before features were held for several samples of a waveform.
        network: on its twins, unless a rule moves it.
        initial: the parameters to train, by name.
        nominal: the nominal system of each layer.
        twins: what stands in for each layer's device; the nominal systems, unless they were fitted.
        bare: the device of each layer, without noise.
        exact: the systems that the devices simulate; ``None`` for what is no simulation of ours.
        sigma: standard deviation of the noise on each layer's readout, in its unit.
        archive: where measurements are kept as they are taken; ``None``: nowhere.
    """

    config: TrainConfig
    data: Dataset
    plain: Dataset
    network: nn.Module
    initial: Params
    nominal: tuple[System, ...]
    twins: tuple[System, ...]
    bare: tuple[Device, ...]
    exact: tuple[System, ...] | None
    sigma: tuple[float, ...]
    archive: Path | None = None

    def devices(self, *key: object) -> list[Device]:
        """The unit's devices, with noise that depends on ``key`` alone."""
        noisy = [
            WithNoise(device, sigma, seed=seed_of(self.config.seed, "noise", layer, *key))
            for layer, (device, sigma) in enumerate(zip(self.bare, self.sigma))
        ]
        if self.archive is None:
            return list(noisy)
        names = [f"{' '.join(map(str, key))}, layer {layer}" for layer in range(len(noisy))]
        # Named by what is measured for: a step that is done again finds what it took before.
        return [WithArchive(d, self.archive, name=n) for d, n in zip(noisy, names)]

    @property
    def looked_at(self) -> Split:
        """What the learning curve is measured on: validation samples, or those of training."""
        return choosing(self.data, CHOOSING)

    def counted(self) -> tuple[int, int]:
        """How many of the numbers to train are physical controls, and how many are digital."""
        prefixes = tuple(
            name + "." for name, m in self.network.named_modules() if isinstance(m, PhysicalLayer)
        )
        physical = sum(v.numel() for n, v in self.initial.items() if n.startswith(prefixes))
        return physical, sum(v.numel() for v in self.initial.values()) - physical


def build_machine(config: TrainConfig) -> Machine:
    """The machine that a configuration describes.

    Raises:
        ValueError, FileNotFoundError: the data cannot be had, do not fit the system, or ngspice
            is not installed.

    Example:
        >>> machine = build_machine(TrainConfig(system="plate", layers=1))
        >>> machine.network(machine.data.test.inputs[:3]).shape, machine.counted()
        (torch.Size([3, 10]), (384, 1))
    """
    kind = KINDS[config.system]
    plain = _judged(pooled(datasets.load(config.data, config.data_root), config.pool), config)
    data = held(plain, kind.hold(plain.features))
    network, initial = build_network(config, kind, data)
    nominal = systems_of(network)
    hardware = [kind.hardware(system) for system in nominal]
    units = [_unit(config, kind, system, layer) for layer, system in enumerate(hardware)]
    spice = config.device == "spice"
    bare = [in_ngspice(unit) if spice else SimulatedDevice(unit) for unit in units]
    sigma = [config.noise * deviation(system, kind) for system in hardware]
    exact = None if spice else tuple(units)
    return Machine(
        config=config,
        data=data,
        plain=plain,
        network=network,
        initial=initial,
        nominal=nominal,
        twins=nominal,
        bare=tuple(map(config.patiently, bare)),
        exact=exact,
        sigma=tuple(sigma),
    )


def build_network(
    config: TrainConfig, kind: Kind, data: Dataset, *, wired: bool = False
) -> tuple[nn.Module, Params]:
    """A network with its parameters to train; with wires in the place of systems if ``wired``."""
    source = generator(config.seed, "initial")
    network = kind.network(data, config.layers, source, wired)
    if config.rule == "dfa":
        # Random feedback descends by what comes after the physics aligning with it.
        network = with_head(network, data.classes)
    return network, trainable(network)


def _judged(data: Dataset, config: TrainConfig) -> Dataset:
    return dataclasses.replace(data, test=some(data.test, config.judged))


def _unit(config: TrainConfig, kind: Kind, system: System, layer: int) -> Any:
    # A single layer is the unit that meta-training knows by this seed.
    key = f"layer {layer}" if config.layers > 1 else ""
    population = Population(system, scaled(kind.spread, config.spread), key=key)
    unit = population.unit(config.unit)
    assert isinstance(unit, SimulatedDevice)
    return unit.system


def batch(part: Split, count: int, *key: object) -> tuple[Tensor, Tensor]:
    """``count`` different samples, or all where there are fewer."""
    rows = torch.randperm(len(part), generator=generator(*key))[:count]
    return part.inputs[rows], part.targets[rows]
