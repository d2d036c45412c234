"""How one unit of an oscillator array departs from the nominal one."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from metaphys._errors import check


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
        leads: list[tuple[int, ...]] = []
        for name in ("coupling", "tolerance"):
            matrix = getattr(self, name)
            if matrix is not None:
                shape = tuple(matrix.shape)
                fits = shape[-2:] == (size, size)
                expected = f"of shape (..., {size}, {size})"
                check(fits, f"mismatch.{name}", expected=expected, got=shape)
                leads.append(shape[:-2])
        if self.gain is not None:
            shape = tuple(self.gain.shape)
            fits = bool(shape) and shape[-1] in (1, size)
            expected = f"of shape (..., 1) or (..., {size})"
            check(fits, "mismatch.gain", expected=expected, got=shape)
            leads.append(shape[:-1])
        longest = max(leads, key=len, default=())
        for lead in leads:
            check(
                lead == longest[: len(lead)],
                "mismatch",
                expected="of leading dimensions that agree (aligned left)",
                got=leads,
            )
        return longest
