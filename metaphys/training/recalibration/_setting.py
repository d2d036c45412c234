"""The network, its data and its units, as recalibration sees them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from metaphys.data import Dataset, Split
from metaphys.nn import Measured, run_on
from metaphys.physics import Converter, Device, Population, WithArchive, WithConverters
from metaphys.training import _draws
from metaphys.training._draws import Params
from metaphys.training.recalibration._config import RecalibrationConfig
from metaphys.training.recalibration._measurement import Measurement
from metaphys.training.recalibration._prior import Prior

Unit = tuple[Any, ...]
"""A unit as a model has it: a :class:`~metaphys.physics.System` for each layer of the network."""

Correction = Callable[[Params, Unit], Params]
"""What is done to the controls, once, when a unit is known."""


@dataclass(frozen=True)
class Setting:
    """A network whose layers are physical systems, and where units of it come from.

    Attributes:
        config: what it was built from.
        data: the data set as the network takes it.
        network: on its nominal systems.
        populations: where the devices of each layer come from, noise included.
        nominal: the model of each layer that needs no measurement.
        guess: what is thought of a layer's unknowns before any unit was seen.
        initial: from a seed to parameters to start from.
        low: the least drive that is measured, in the drive's unit.
        high: the greatest.
        correct: takes a known unit's mismatch back in the controls; ``None`` where none can.
        converters: of the controls of each device, by name.
        archive: where what is measured of units is kept as it is taken; ``None``: nowhere.
    """

    config: RecalibrationConfig
    data: Dataset
    network: nn.Module
    populations: tuple[Population, ...]
    nominal: Unit
    guess: Prior
    initial: Callable[[int], Params]
    low: float
    high: float
    correct: Correction | None = None
    converters: Mapping[str, Converter] = field(default_factory=dict)
    archive: Path | None = None

    def devices(self, unit: int, *, purpose: str | None = None) -> tuple[Device, ...]:
        """A unit by its seed, as hardware takes its controls: a device for each layer.

        Args:
            unit: its seed.
            purpose: of measurements that are to be kept in the archive, where there is one.
        """
        found: list[Device] = []
        for layer, population in enumerate(self.populations):
            device = self.config.patiently(population.unit(unit))
            if self.converters:
                device = WithConverters(device, controls=self.converters)
            if purpose is not None and self.archive is not None:
                name = f"unit {unit}, layer {layer}{purpose and ', '}{purpose}"
                device = WithArchive(device, self.archive, name=name)
            found.append(device)
        return tuple(found)

    def measurements(
        self, unit: int, most: int, devices: Sequence[Device] | None = None
    ) -> tuple[Measurement, ...]:
        """A unit of which nothing was measured yet, with its controls as near to 0 as they go.

        Args:
            unit: its seed.
            most: device calls, which the layers share evenly.
            devices: its layers; those of the population by default.
        """
        found = []
        devices = self.devices(unit, purpose="") if devices is None else devices
        for layer, device in enumerate(devices):
            controls = {n: torch.zeros(shape) for n, shape in device.ports.controls.items()}
            set_to = {n: c(controls[n]) for n, c in self.converters.items()}
            one = Measurement(
                device,
                low=self.low,
                high=self.high,
                most=most // len(self.nominal),
                seed=_draws.seed_of(unit, layer) if layer else unit,
                controls={**controls, **set_to},
            )
            found.append(one)
        return tuple(found)

    def logits(self, params: Params, inputs: Tensor, unit: Unit) -> Tensor:
        """What the network answers on a model of a unit."""
        with run_on(self.network, *unit):
            return functional_call(self.network, params, (inputs,))

    @torch.no_grad()
    def accuracy(self, params: Params, devices: Sequence[Device], part: Split) -> float:
        """Of the network on a unit's devices, each of which is called once a sample."""
        with run_on(self.network, *map(Measured, devices)):
            parts = part.inputs.split(1000)
            found = torch.cat([functional_call(self.network, params, (x,)) for x in parts])
        return float((found.argmax(-1) == part.targets).double().mean())

    def training_unit(self, *key: object) -> Unit:
        """A simulated unit of the training population."""
        (seed,) = _draws.draw_units(1, *key)
        return self.simulated(seed)

    def simulated(self, unit: int) -> Unit:
        """The physics of a unit by its seed, which no experiment knows."""
        return tuple(population.simulated(unit) for population in self.populations)

    def batch(self, *key: object, count: int | None = None) -> tuple[Tensor, Tensor]:
        """Training samples that depend on ``key`` alone; by default as many as in a step."""
        part, count = self.data.train, self.config.batch if count is None else count
        source = _draws.generator(*key)
        rows = torch.randint(len(part), (count,), generator=source)
        return part.inputs[rows], part.targets[rows]
