"""How one plate departs from the nominal one."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from metaphys._errors import check


@dataclass(frozen=True)
class PlateMismatch:
    """How one unit (or each unit of a fleet) departs from the nominal plate.

    Leading dimensions are units; all fields that are given have the same ones. ``None`` is for
    none. Relative errors are dimensionless and > -1.

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
        sizes = {"thickness": (1,), "gain": (1,), "drive_at": (2,), "microphone_at": (2,)}
        sizes |= {"frequency": (1, modes), "damping": (1, modes)}
        leads: dict[str, tuple[int, ...]] = {}
        for name, own in sizes.items():
            value = getattr(self, name)
            if value is not None:
                shape = tuple(value.shape)
                fits = bool(shape) and shape[-1] in own
                expected = " or ".join(f"(..., {size})" for size in dict.fromkeys(own))
                check(fits, f"mismatch.{name}", expected=f"of shape {expected}", got=shape)
                leads[name] = shape[:-1]
        same = len(set(leads.values())) <= 1
        check(same, "mismatch", expected="of the same leading dimensions", got=leads)
        return next(iter(leads.values()), ())
