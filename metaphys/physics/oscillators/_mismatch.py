"""How one unit of an oscillator array departs from the nominal one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from torch import Tensor

from metaphys.physics._units import units_of


@final
@dataclass(frozen=True)
class OscillatorMismatch:
    """How one unit (or each unit of a fleet) departs from the nominal array.

    Leading dimensions are units, aligned left with those of the drive.

    Attributes:
        coupling: (..., N, N) offset that is added to the control ``coupling``, dimensionless;
            ``None`` for none. Like the control, only its symmetric part acts.
        gain: (..., 1) or (..., N) relative error eta of the angle inside the sine,
            ``sin((1 + eta) q)``, dimensionless, > -1; ``None`` for none.
        tolerance: (..., N, N) relative error of each coupling, J_ij (1 + tolerance_ij), of which
            only the symmetric part acts; ``None`` for none. Unlike an offset it cannot be outrun
            by stronger couplings.
    """

    coupling: Tensor | None = None
    gain: Tensor | None = None
    tolerance: Tensor | None = None

    def units(self, size: int) -> tuple[int, ...]:
        """The leading dimensions, checked against ``size`` oscillators.

        Raises:
            ValueError: a shape does not fit.
        """
        square = ((size,), (size,))
        return units_of(
            {
                "coupling": (self.coupling, square),
                "gain": (self.gain, ((1, size),)),
                "tolerance": (self.tolerance, square),
            }
        )
