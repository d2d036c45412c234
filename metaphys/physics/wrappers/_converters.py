"""Converters between numbers and voltages: a limited range, a limited number of levels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from torch import Tensor

from metaphys._errors import check
from metaphys.physics._device import Device
from metaphys.physics._encoding import check_range
from metaphys.physics.wrappers._wrapper import Wrapper


@final
@dataclass(frozen=True)
class Converter:
    r"""The nearest of 2^bits levels between ``low`` and ``high``, both of which are levels.

    .. math:: Q(x) = \text{low} + \Delta \operatorname{round}\Bigl(
              \frac{\operatorname{clamp}(x) - \text{low}}{\Delta}\Bigr), \qquad
              \Delta = \frac{\text{high} - \text{low}}{2^\text{bits} - 1}

    Its derivative is that of the clamp (the straight-through estimator): 1 within the range, 0
    outside, and zero in every higher order. So it can stand in a twin, before and after the system:
    ``lambda drive, controls: adc(system(dac(drive), controls))``.

    Source: Bengio, Léonard, Courville, "Estimating or propagating gradients through stochastic
    neurons", arXiv:1308.3432 (2013), Section 4.

    Attributes:
        bits: of the converter.
        low: the lowest level, in the unit of what is converted.
        high: the highest.

    Raises:
        ValueError: ``bits`` not in 1 … 24, or ``low`` >= ``high``.

    Example:
        >>> import torch
        >>> Converter(2, 0.0, 3.0)(torch.tensor([-1.0, 0.4, 1.6, 9.0]))
        tensor([0., 0., 2., 3.])
    """

    bits: int
    low: float
    high: float

    def __post_init__(self) -> None:
        # float32 has no more than 24 bits to tell levels apart.
        check(1 <= self.bits <= 24, "bits", expected="1 … 24", got=self.bits)
        check_range(self.low, self.high)

    @property
    def step(self) -> float:
        """The distance of two levels."""
        return (self.high - self.low) / (2**self.bits - 1)

    def __call__(self, x: Tensor) -> Tensor:
        """The level of every element of ``x``."""
        inside = x.clamp(self.low, self.high)
        level = self.low + self.step * ((inside.detach() - self.low) / self.step).round()
        # The bracket is +0: the value is the level to the last bit (see PhysicsAware).
        return level - (inside.detach() - inside)


@final
class WithConverters(Wrapper):
    """A device behind a digital-to-analogue converter and before an analogue-to-digital one.

    Args:
        device: what is measured, in physical units.
        dac: converts the drive; ``None`` for an ideal one.
        adc: converts the readout; ``None`` for an ideal one.
        controls: converts the controls of these names; others are ideal.

    Raises:
        ValueError: a name in ``controls`` that is none of the device's.

    Example:
        >>> import torch
        >>> from metaphys.physics import Plate, SimulatedDevice
        >>> plate = Plate(samples=4)
        >>> device = WithConverters(SimulatedDevice(plate), dac=Converter(8, -1.0, 1.0))
        >>> drive = torch.tensor([0.1, 0.2, 0.3, 2.0])
        >>> device.measure(drive, {}).equal(plate(device.dac(drive), {}))
        True
    """

    def __init__(
        self,
        device: Device,
        dac: Converter | None = None,
        adc: Converter | None = None,
        *,
        controls: Mapping[str, Converter] | None = None,
    ) -> None:
        super().__init__(device)
        self.dac, self.adc, self.controls = dac, adc, dict(controls or {})
        own = self.ports.controls if isinstance(self.ports.controls, Mapping) else {}
        for name in self.controls:
            check(name in own, "controls", expected=f"for controls among {list(own)}", got=name)

    def __repr__(self) -> str:
        return f"WithConverters({self.device}, dac={self.dac}, adc={self.adc})"

    def _read(self, drive: Tensor, controls: Any) -> Tensor:
        if self.controls:
            ideal = {name: value for name, value in controls.items() if name not in self.controls}
            controls = ideal | {n: convert(controls[n]) for n, convert in self.controls.items()}
        drive = drive if self.dac is None else self.dac(drive)
        readout = self.device._take(drive, controls)
        return readout if self.adc is None else self.adc(readout)
