"""Populations: where units that nobody has seen before come from."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

from metaphys._errors import check, check_kind
from metaphys.physics._device import Device, SimulatedDevice
from metaphys.physics._seeds import derived
from metaphys.physics._system import System
from metaphys.physics.wrappers import WithNoise


class Spread(abc.ABC):
    """How much units of a system differ: a distribution over its mismatch.

    Every system has its own spread, a final dataclass whose fields are standard deviations.
    """

    @abc.abstractmethod
    def perturb(self, system: Any, seeds: Sequence[int]) -> System:
        """The system of these units, with one leading dimension ``len(seeds)``.

        What a seed gives must not depend on the other seeds.
        """

    @abc.abstractmethod
    def single(self, system: Any, seed: int) -> System:
        """The system of one unit, without a leading dimension."""


@final
@dataclass(frozen=True)
class Population:
    """A distribution over devices: a nominal system, the spread of its units, and their noise.

    A unit is named by an integer seed and is the same alone and in any fleet, its noise included.
    Every call of :meth:`unit` or :meth:`draw` gives units with counters at zero and their random
    streams at the start: keep the device to go on measuring it.

    Attributes:
        system: the nominal system; it is also the twin that needs no measurement.
        spread: how units differ from it.
        noise: standard deviation of the readout noise, in the readout's unit.
        drive_noise: standard deviation of the noise on the drive, in the drive's unit.
        key: tells apart populations that are drawn from with the same seeds, such as the layers of
            one network: under another key a seed is another unit.

    Example:
        >>> import torch
        >>> from metaphys.physics import OscillatorArray, OscillatorSpread
        >>> population = Population(OscillatorArray(3), OscillatorSpread(coupling=0.5), noise=0.02)
        >>> fleet = population.draw([10, 11, 12])
        >>> fleet.units, population.unit(11).units
        ((3,), ())
        >>> drive, controls = torch.ones(3, 2, 3), population.system.init_controls()
        >>> readout = fleet.measure(drive, controls)
        >>> bool(torch.allclose(readout[1], population.unit(11).measure(drive[1], controls)))
        True
    """

    system: System
    spread: Spread
    noise: float = 0.0
    drive_noise: float = 0.0
    key: str = ""

    def __post_init__(self) -> None:
        for name, kind in (("system", System), ("spread", Spread)):
            value = getattr(self, name)
            check_kind(value, kind, name, expected=f"a {kind.__name__}")
        check(self.noise >= 0, "noise", expected=">= 0", got=self.noise)
        check(self.drive_noise >= 0, "drive_noise", expected=">= 0", got=self.drive_noise)

    def unit(self, seed: int) -> Device:
        """The unit of this seed; drive and readout have no dimension for units."""
        (own,) = self._own([seed])
        return self._noisy(SimulatedDevice(self.simulated(seed)), [own])

    def simulated(self, seed: int) -> System:
        """The physics of the unit of this seed, without noise: what an experiment cannot know."""
        (own,) = self._own([seed])
        return self.spread.single(self.system, own)

    def perturbed(self, seeds: Sequence[int]) -> System:
        """The physics of the units of these seeds, which lead its dimensions; without noise."""
        return self.spread.perturb(self.system, self._own(seeds))

    def draw(self, units: int | Sequence[int]) -> Device:
        """A fleet, whose units lead the dimensions of drive and readout.

        Args:
            units: the seeds of the units, or a number n for the seeds 0 … n − 1.

        Raises:
            ValueError: no units.
        """
        seeds = range(units) if isinstance(units, int) else list(units)
        check(len(seeds) > 0, "units", expected="at least one unit", got=units)
        return self._noisy(SimulatedDevice(self.perturbed(seeds)), self._own(seeds))

    def _own(self, seeds: Sequence[int]) -> list[int]:
        return [derived(seed, self.key) if self.key else seed for seed in seeds]

    def _noisy(self, device: Device, seeds: Sequence[int]) -> Device:
        if not self.noise and not self.drive_noise:
            return device
        return WithNoise(device, self.noise, drive_sigma=self.drive_noise, seed=seeds)
