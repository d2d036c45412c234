"""How one plate departs from the nominal one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from torch import Tensor

from metaphys.physics._units import units_of


@final
@dataclass(frozen=True)
class PlateMismatch:
    """How one unit (or each unit of a fleet) departs from the nominal plate.

    Leading dimensions are units, aligned left with those of the drive; ``None`` is for none.
    Relative errors are dimensionless and > -1.

    Attributes:
        thickness: (..., 1) relative error of h.
        frequency: (..., 1) or (..., K) relative error of the modes' frequencies, by what no
            thickness explains: mount, inhomogeneity.
        damping: (..., 1) or (..., K) relative error of the damping ratios.
        drive_at: (..., 2) shift of the drive, in lengths and widths.
        microphone_at: (..., 2) shift of the microphone, in lengths and widths.
        gain: (..., 1) relative error of the microphone's sensitivity.
    """

    thickness: Tensor | None = None
    frequency: Tensor | None = None
    damping: Tensor | None = None
    drive_at: Tensor | None = None
    microphone_at: Tensor | None = None
    gain: Tensor | None = None

    def units(self, modes: int) -> tuple[int, ...]:
        """The leading dimensions, checked against ``modes`` modes.

        Raises:
            ValueError: a shape does not fit.
        """
        one, two, each = ((1,),), ((2,),), ((1, modes),)
        return units_of(
            {
                "thickness": (self.thickness, one),
                "frequency": (self.frequency, each),
                "damping": (self.damping, each),
                "drive_at": (self.drive_at, two),
                "microphone_at": (self.microphone_at, two),
                "gain": (self.gain, one),
            }
        )
