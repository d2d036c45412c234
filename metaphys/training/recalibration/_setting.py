"""The network, its data and its units, as recalibration sees them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from metaphys.data import Split
from metaphys.nn import Measured, run_on
from metaphys.physics import Converter, Device, OscillatorArray, Population, WithConverters
from metaphys.training import _problem
from metaphys.training._config import Config
from metaphys.training._problem import TRAINING_UNITS, Params, Problem
from metaphys.training.recalibration._config import RecalibrationConfig
from metaphys.training.recalibration._measurement import Measurement


@dataclass(frozen=True)
class Setting:
    """A network on one array of oscillators, and where units of it come from.

    Attributes:
        config: what it was built from.
        problem: the network in functional form, its data and its population.
    """

    config: RecalibrationConfig
    problem: Problem

    @property
    def array(self) -> OscillatorArray:
        """The nominal array."""
        return self.problem.network.systems[0]

    @property
    def population(self) -> Population:
        """Where units come from."""
        return self.problem.population

    def device(self, unit: int) -> Device:
        """A unit by its seed, as hardware takes its controls."""
        device, config = self.population.unit(unit), self.config
        if config.bits is None or config.coupling_limit is None:
            return device
        limits = {"coupling": config.coupling_limit, "force": config.force_limit}
        each = {name: Converter(config.bits, -most, most) for name, most in limits.items()}
        return WithConverters(device, controls=each)

    def measurement(self, unit: int, most: int) -> Measurement:
        """A unit of which nothing was measured yet, with its controls as near to 0 as they go."""
        device = self.device(unit)
        controls = {n: torch.zeros(shape) for n, shape in device.ports.controls.items()}
        if isinstance(device, WithConverters):
            controls = {n: device.controls[n](value) for n, value in controls.items()}
        return Measurement(
            device, amplitude=self.config.amplitude, most=most, seed=unit, controls=controls
        )

    @torch.no_grad()
    def accuracy(self, params: Params, device: Device, part: Split) -> float:
        """Of the network on a device, which is called once a sample."""
        with run_on(self.problem.network, Measured(device)):
            found = torch.cat([self.problem.apply(params, x) for x in part.inputs.split(1000)])
        return float((found.argmax(-1) == part.targets).double().mean())

    def logits(self, params: Params, inputs: Tensor, system: OscillatorArray) -> Tensor:
        """What the network answers on a model of a unit."""
        with run_on(self.problem.network, system):
            return self.problem.apply(params, inputs)

    def initial(self, seed: int) -> Params:
        """Controls to start from."""
        source = _problem.generator(seed, "initial")
        found = self.array.init_controls(generator=source)
        return {f"layers.0.controls.{name}": value for name, value in found.items()}

    def training_unit(self, *key: object) -> OscillatorArray:
        """A simulated unit of the training population."""
        (seed,) = _problem.draw_units(1, *key)
        assert seed >= TRAINING_UNITS
        return self.population.spread.single(self.array, seed)  # pyright: ignore[reportReturnType]

    def batch(self, *key: object) -> tuple[Tensor, Tensor]:
        """Training samples that depend on ``key`` alone."""
        part = self.problem.data.train
        source = _problem.generator(*key)
        rows = torch.randint(len(part), (self.config.batch,), generator=source)
        return part.inputs[rows], part.targets[rows]


def build(config: RecalibrationConfig) -> Setting:
    """The setting that a configuration describes.

    Raises:
        ValueError, FileNotFoundError: the data cannot be had.

    Example:
        >>> setting = build(RecalibrationConfig(spread=0.5))
        >>> setting.array, setting.config.budgets
        (OscillatorArray(26, steps=5, dt=0.1), (50, 100, 250))
    """
    mnist = config.data_root is not None
    problem = _problem.build(
        Config(
            data="mnist" if mnist else "digits",
            data_root=config.data_root,
            pool=4 if mnist else 2,
            units=config.units,
            coupling_spread=config.spread,
            gain=config.gain,
            gain_spread=config.gain_spread,
            noise=config.noise,
            coupling_limit=config.coupling_limit,
        )
    )
    return Setting(config, problem)
