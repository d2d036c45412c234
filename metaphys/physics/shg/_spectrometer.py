"""The spectrometer behind the crystal."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from metaphys._errors import check
from metaphys.physics.shg._window import TimeWindow


@dataclass(frozen=True)
class Spectrometer:
    """Energies in equal bins of the spectrum of the second harmonic.

    Attributes:
        bins: m, the number of readings, in the order of rising optical frequency.
        span: width of the band that is seen, THz; its middle is twice the carrier.

    Raises:
        ValueError: ``bins`` < 1 or ``span`` <= 0.
    """

    bins: int = 50
    span: float = 8.8

    def __post_init__(self) -> None:
        check(self.bins >= 1, "bins", expected=">= 1", got=self.bins)
        check(self.span > 0, "span", expected="> 0 THz", got=self.span)

    def matrix(self, window: TimeWindow, shift: Tensor | None = None) -> Tensor:
        """(..., N, m) from energies on the grid to readings; ``shift`` (..., 1) in THz."""
        return window.overlap(self.bins, self.span, shift)
