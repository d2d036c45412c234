"""Populations: where units that nobody has seen before come from."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import torch

from metaphys._errors import check
from metaphys.physics._device import Device, SimulatedDevice
from metaphys.physics._oscillators import OscillatorArray, OscillatorMismatch
from metaphys.physics._seeds import derived, stream
from metaphys.physics._system import System
from metaphys.physics._wrappers import WithNoise


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
class OscillatorSpread(Spread):
    r"""Unit-to-unit spread of an :class:`OscillatorArray`.

    The offset of C is ``coupling`` · R with :math:`R_{ij} \sim N(0, 1)`, so that of J is
    ``coupling`` · (R + Rᵀ)/2, as in the authors' notebook 2 (coupling 0.2, gain 0.1). Row sums of
    J restore every oscillator: the effect of the spread grows with sqrt(N).

    The relative error of J_ij = J_ji is ``tolerance`` · N(0, 1): the tolerance of a component.

    Attributes:
        coupling: standard deviation of the offset of C, dimensionless.
        gain: mean of eta, the relative error of the angle inside the sine, dimensionless.
        gain_spread: standard deviation of eta.
        per_oscillator: draw eta for every oscillator instead of once a unit; such a mismatch
            cannot be cancelled by the controls.
        tolerance: standard deviation of the relative error of each coupling, dimensionless.

    Example:
        >>> spread = OscillatorSpread(coupling=1.0, gain=0.1)
        >>> unit = spread.single(OscillatorArray(3), seed=5)
        >>> unit.mismatch.coupling.shape, unit.mismatch.gain
        (torch.Size([3, 3]), tensor([0.1000]))
    """

    coupling: float = 0.0
    gain: float = 0.0
    gain_spread: float = 0.0
    per_oscillator: bool = False
    tolerance: float = 0.0

    def __post_init__(self) -> None:
        for name in ("coupling", "gain_spread", "tolerance"):
            value = getattr(self, name)
            check(value >= 0, name, expected=">= 0", got=value)
        check(self.gain > -1, "gain", expected="> -1", got=self.gain)

    def single(self, system: OscillatorArray, seed: int) -> OscillatorArray:
        mismatch = self._mismatch(system, seed)
        return system.with_mismatch(mismatch)

    def perturb(self, system: OscillatorArray, seeds: Sequence[int]) -> OscillatorArray:
        drawn = [self._mismatch(system, seed) for seed in seeds]
        return system.with_mismatch(
            OscillatorMismatch(
                coupling=torch.stack([one.coupling for one in drawn]),  # type: ignore[misc]
                gain=torch.stack([one.gain for one in drawn]),  # type: ignore[misc]
                tolerance=torch.stack([one.tolerance for one in drawn]),  # type: ignore[misc]
            )
        )

    def _mismatch(self, system: OscillatorArray, seed: int) -> OscillatorMismatch:
        check(
            isinstance(system, OscillatorArray),
            "system",
            expected="an OscillatorArray",
            got=type(system).__name__,
            remedy="Every system has a spread of its own.",
            error=TypeError,
        )
        generator, size = stream(seed, "mismatch"), system.size
        # All are always drawn, in float64: a seed is the same pattern at every spread and dtype.
        pattern = torch.randn(size, size, generator=generator, dtype=torch.float64)
        gains = torch.randn(size, generator=generator, dtype=torch.float64)
        gains = gains if self.per_oscillator else gains[:1]
        errors = torch.randn(size, size, generator=generator, dtype=torch.float64).triu()
        dtype = torch.get_default_dtype()
        return OscillatorMismatch(
            coupling=(self.coupling * pattern).to(dtype),
            gain=(self.gain + self.gain_spread * gains).to(dtype),
            tolerance=(self.tolerance * (errors + errors.triu(1).mT)).to(dtype),
        )


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
            check(
                isinstance(value, kind),
                name,
                expected=f"a {kind.__name__}",
                got=type(value).__name__,
                error=TypeError,
            )
        check(self.noise >= 0, "noise", expected=">= 0", got=self.noise)
        check(self.drive_noise >= 0, "drive_noise", expected=">= 0", got=self.drive_noise)

    def unit(self, seed: int) -> Device:
        """The unit of this seed; drive and readout have no dimension for units."""
        (own,) = self._own([seed])
        return self._noisy(SimulatedDevice(self.spread.single(self.system, own)), [own])

    def draw(self, units: int | Sequence[int]) -> Device:
        """A fleet, whose units lead the dimensions of drive and readout.

        Args:
            units: the seeds of the units, or a number n for the seeds 0 … n − 1.

        Raises:
            ValueError: no units.
        """
        seeds = range(units) if isinstance(units, int) else list(units)
        check(len(seeds) > 0, "units", expected="at least one unit", got=units)
        own = self._own(seeds)
        return self._noisy(SimulatedDevice(self.spread.perturb(self.system, own)), own)

    def _own(self, seeds: Sequence[int]) -> list[int]:
        return [derived(seed, self.key) if self.key else seed for seed in seeds]

    def _noisy(self, device: Device, seeds: Sequence[int]) -> Device:
        if not self.noise and not self.drive_noise:
            return device
        return WithNoise(device, self.noise, drive_sigma=self.drive_noise, seed=seeds)
