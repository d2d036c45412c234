"""How one set-up departs from the nominal one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor
from torch.nn.functional import pad

from metaphys.physics._ports import align
from metaphys.physics._units import units_of
from metaphys.physics.shg._crystal import Crystal


@final
@dataclass(frozen=True)
class SHGMismatch:
    """How one unit (or each unit of a fleet) departs from the nominal set-up.

    Leading dimensions are units, aligned left with those of the drive.

    Attributes:
        coupling: (..., 1) relative error of G, dimensionless, > −1; ``None`` for none. An error of
            the laser's amplitude acts as one of G, a drift of its power by p as p/2.
        dk0: (..., 1) offset of the phase mismatch, rad/mm: an error of the crystal's angle.
        chirp: (..., 1) added group-delay dispersion of the pulse, fs².
        bits: (..., 1) number of bits of the shaper's levels: level x is set to the nearest of
            0, 1/(2^bits − 1), … Its derivative is taken as that of the level itself.
        crosstalk: (..., k) how a level spreads over its neighbours, k odd: bin i passes
            the sum over j of crosstalk_j · x_{i + j − (k − 1)/2}; beyond the ends x is 0.
        shift: (..., 1) by how much the spectrometer's bins lie higher than they should, THz.
        depletion: (..., 2) how a :class:`ThinSHG` falls short of an undepleted pump, dimensionless,
            >= 0; an :class:`SHG` depletes its pump by itself and takes none.
    """

    coupling: Tensor | None = None
    dk0: Tensor | None = None
    chirp: Tensor | None = None
    bits: Tensor | None = None
    crosstalk: Tensor | None = None
    shift: Tensor | None = None
    depletion: Tensor | None = None

    def units(self, bins: int) -> tuple[int, ...]:
        """The leading dimensions, checked; ``bins`` is the number of the shaper's levels.

        Raises:
            ValueError: a shape does not fit.
        """
        one = ((1,),)
        kernel = (tuple(range(1, 2 * bins, 2)),)
        names = ("coupling", "dk0", "chirp", "bits", "shift")
        fields = {name: (getattr(self, name), one) for name in names}
        other = {"crosstalk": (self.crosstalk, kernel), "depletion": (self.depletion, ((2,),))}
        return units_of({**fields, **other})

    def crystal(self, nominal: Crystal, drive: Tensor) -> Crystal:
        """The unit's crystal, its values aligned with ``drive`` (*units, ..., n)."""
        changed = {}
        if self.coupling is not None:
            changed["coupling"] = nominal.coupling * (1 + aligned(self.coupling, drive))
        if self.dk0 is not None:
            changed["dk0"] = nominal.dk0 + aligned(self.dk0, drive)
        return replace(nominal, **changed) if changed else nominal

    def set_levels(self, levels: Tensor) -> Tensor:
        """What the shaper makes of ``levels`` (*units, ..., n)."""
        if self.bits is not None:
            top = 2 ** aligned(self.bits, levels) - 1
            levels = levels + ((levels * top).round() / top - levels).detach()
        if self.crosstalk is None:
            return levels
        kernel = aligned(self.crosstalk, levels)
        reach = kernel.shape[-1] // 2
        padded, bins = pad(levels, (reach, reach)), levels.shape[-1]
        # Not by `unfold`, whose backward vmap has no rule for.
        parts = [
            kernel[..., lag : lag + 1] * padded.narrow(-1, lag, bins)
            for lag in range(kernel.shape[-1])
        ]
        return torch.stack(parts).sum(0)


def aligned(x: Tensor, drive: Tensor) -> Tensor:
    """A mismatch's field (..., k) in the dtype and with the dimensions of a drive."""
    return align(x.to(drive), 1, drive.ndim - 1)
