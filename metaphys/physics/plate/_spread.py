"""How much plates differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import final

import torch
from torch import Tensor

from metaphys._errors import check, check_kind
from metaphys.physics._population import Spread
from metaphys.physics._seeds import stream
from metaphys.physics.plate._mismatch import PlateMismatch
from metaphys.physics.plate._plate import Plate


@final
@dataclass(frozen=True)
class PlateSpread(Spread):
    """Unit-to-unit spread of a :class:`Plate`.

    Thickness, frequencies, damping and gain are positive, so the relative error is exp(s x) − 1
    with x ~ N(0, 1), which for small s is s x. Positions shift by s x in each direction.

    Attributes:
        thickness: s of h, once a unit, dimensionless.
        frequency: s of each mode's frequency by itself; no adjustment of one number cancels it.
        damping: s of the damping ratios, each by itself.
        drive_at: s of the place of the drive, in lengths and widths.
        microphone_at: s of the place of the microphone, in lengths and widths.
        gain: s of the microphone's sensitivity.

    Example:
        >>> unit = PlateSpread().single(Plate(), seed=5)
        >>> unit.mismatch.damping.shape, unit.mismatch.gain.shape
        (torch.Size([16]), torch.Size([1]))
    """

    thickness: float = 0.05
    frequency: float = 0.0
    damping: float = 0.3
    drive_at: float = 0.02
    microphone_at: float = 0.02
    gain: float = 0.1

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            check(value >= 0, field.name, expected=">= 0", got=value)

    def single(self, system: Plate, seed: int) -> Plate:
        mismatch = self._mismatch(system, seed)
        return system.with_mismatch(mismatch)

    def perturb(self, system: Plate, seeds: Sequence[int]) -> Plate:
        drawn = [self._mismatch(system, seed) for seed in seeds]
        stacked = {
            field.name: torch.stack([getattr(one, field.name) for one in drawn])
            for field in fields(PlateMismatch)
        }
        return system.with_mismatch(PlateMismatch(**stacked))

    def _mismatch(self, system: Plate, seed: int) -> PlateMismatch:
        check_kind(
            system,
            Plate,
            "system",
            expected="a Plate",
            remedy="Every system has a spread of its own.",
        )

        # A stream for each: a seed is the same unit whatever spreads are zero and modes are kept.
        def draw(name: str, size: int) -> Tensor:
            generator = stream(seed, f"plate {name}")
            return torch.randn(size, generator=generator, dtype=torch.float64)

        def relative(name: str, size: int) -> Tensor:
            return torch.expm1(getattr(self, name) * draw(name, size))

        modes = system.design.modes
        return PlateMismatch(
            thickness=relative("thickness", 1),
            frequency=relative("frequency", modes),
            damping=relative("damping", modes),
            drive_at=self.drive_at * draw("drive_at", 2),
            microphone_at=self.microphone_at * draw("microphone_at", 2),
            gain=relative("gain", 1),
        )
