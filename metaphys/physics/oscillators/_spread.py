"""How much the units of an oscillator array differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch

from metaphys._errors import check, check_kind
from metaphys.physics._population import Spread
from metaphys.physics._seeds import stream
from metaphys.physics.oscillators._array import OscillatorArray
from metaphys.physics.oscillators._mismatch import OscillatorMismatch


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
        check_kind(
            system,
            OscillatorArray,
            "system",
            expected="an OscillatorArray",
            remedy="Every system has a spread of its own.",
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
