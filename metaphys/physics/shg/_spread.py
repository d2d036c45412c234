"""How much set-ups differ from unit to unit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import final

import torch
from torch import Tensor

from metaphys._errors import check, check_kind
from metaphys.physics._population import Spread
from metaphys.physics._seeds import stream
from metaphys.physics.shg._mismatch import SHGMismatch
from metaphys.physics.shg._optics import SecondHarmonic


@final
@dataclass(frozen=True)
class SHGSpread(Spread):
    """Unit-to-unit spread of an :class:`SHG` or a :class:`ThinSHG`.

    Attributes:
        coupling: standard deviation of the relative error of G, dimensionless; a laser's power
            drifts by 1 to 5 % an hour, which is half as much in G.
        dk0: standard deviation of the phase mismatch at the carriers, rad/mm.
        chirp: standard deviation of the pulse's group-delay dispersion, fs².
        bits: range of the number of bits of the shaper's levels, both ends included, e.g. (6, 8);
            ``None``: continuous levels.
        crosstalk: mean share of a level that goes to each of its two neighbours (the two are
            independent, exponentially distributed).
        shift: standard deviation of the spectrometer's calibration, THz.

    Example:
        >>> from metaphys.physics import ThinSHG
        >>> spread = SHGSpread(coupling=0.02, dk0=1.0, bits=(6, 8), crosstalk=0.02)
        >>> fleet = spread.perturb(ThinSHG(), seeds=[3, 4])
        >>> fleet.units, fleet.mismatch.crosstalk.shape
        ((2,), torch.Size([2, 3]))
    """

    coupling: float = 0.0
    dk0: float = 0.0
    chirp: float = 0.0
    bits: tuple[int, int] | None = None
    crosstalk: float = 0.0
    shift: float = 0.0

    def __post_init__(self) -> None:
        for name in ("coupling", "dk0", "chirp", "crosstalk", "shift"):
            value = getattr(self, name)
            check(value >= 0, name, expected=">= 0", got=value)
        fits = self.bits is None or 1 <= self.bits[0] <= self.bits[1]
        check(fits, "bits", expected="a range (least, most), least >= 1", got=self.bits)

    def single(self, system: SecondHarmonic, seed: int) -> SecondHarmonic:
        return system.with_mismatch(SHGMismatch(**self._draw(system, seed)))

    def perturb(self, system: SecondHarmonic, seeds: Sequence[int]) -> SecondHarmonic:
        drawn = [self._draw(system, seed) for seed in seeds]
        stacked = {name: torch.stack([one[name] for one in drawn]) for name in drawn[0]}
        return system.with_mismatch(SHGMismatch(**stacked))

    def _draw(self, system: SecondHarmonic, seed: int) -> dict[str, Tensor]:
        check_kind(
            system,
            SecondHarmonic,
            "system",
            expected="an SHG or a ThinSHG",
            remedy="Every system has a spread of its own.",
        )
        generator = stream(seed, "mismatch")
        # All are always drawn, in float64: a seed is the same unit at every spread and dtype.
        coupling, dk0, chirp, shift = torch.randn(4, 1, generator=generator, dtype=torch.float64)
        uniform = torch.rand(3, generator=generator, dtype=torch.float64)
        left, right = -self.crosstalk * torch.log1p(-uniform[1:])
        values = {
            "coupling": self.coupling * coupling,
            "dk0": self.dk0 * dk0,
            "chirp": self.chirp * chirp,
            "crosstalk": torch.stack([left, 1 - left - right, right]),
            "shift": self.shift * shift,
        }
        if self.bits is not None:
            least, most = self.bits
            values["bits"] = least + (uniform[:1] * (most - least + 1)).floor()
        # What does not vary is left out: the nominal set-up is the quickest.
        present = {field.name for field in fields(self) if getattr(self, field.name)}
        dtype = torch.get_default_dtype()
        return {name: value.to(dtype) for name, value in values.items() if name in present}
