"""The pulse shaper: a modulator in the Fourier plane, whose pixels are bins of the spectrum."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from metaphys._errors import check
from metaphys.physics.shg._pulse import Pulse
from metaphys.physics.shg._window import TimeWindow


@dataclass(frozen=True)
class PulseShaper:
    """Equal bins of the spectrum, each transmitted with an amplitude of its own; outside: none.

    A level is an amplitude transmission, in [0, 1] on hardware. The model is defined for every
    real level (a negative one turns the phase by π) and leaves the range to what makes the drive:
    :class:`~metaphys.physics.Interleaved` clamps.

    Attributes:
        bins: n, the number of levels.
        span: width of the band that passes, THz; its middle is the carrier.

    Raises:
        ValueError: ``bins`` < 1 or ``span`` <= 0.
    """

    bins: int = 100
    span: float = 8.8

    def __post_init__(self) -> None:
        check(self.bins >= 1, "bins", expected=">= 1", got=self.bins)
        check(self.span > 0, "span", expected="> 0 THz", got=self.span)

    def matrix(self, pulse: Pulse, window: TimeWindow) -> Tensor:
        """(n, N) from levels to the amplitude of the pulse's spectrum, float64."""
        return window.overlap(self.bins, self.span).mT * pulse.amplitude(window)
