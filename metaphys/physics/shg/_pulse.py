"""The pulse that enters the shaper."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from metaphys._errors import check
from metaphys.physics.shg._window import TimeWindow


@dataclass(frozen=True)
class Pulse:
    r"""A Gaussian pulse.

    .. math::
        A(\Omega) \propto
            \exp\Bigl(-\frac{(\Omega\tau)^2}{8 \ln 2} + \frac{i}{2} \phi_2 \Omega^2\Bigr)

    Amplitudes are in units of the peak amplitude of the pulse without its chirp.

    Attributes:
        duration: τ, fs, full width at half maximum of the intensity without chirp. The spectrum
            is 0.441/τ wide, 4.4 THz at 100 fs.
        chirp: φ₂, the group-delay dispersion, fs²; positive: red comes first.

    Raises:
        ValueError: ``duration`` <= 0.

    Example:
        >>> field = torch.fft.fft(Pulse().spectrum(TimeWindow()))
        >>> intensity = field.abs().square()
        >>> fwhm = 64e3 / 2048 * float((intensity > 0.5).sum())         # cells of 31 fs
        >>> round(float(intensity[0]), 6), round(fwhm)
        (1.0, 94)
    """

    duration: float = 100.0
    chirp: float = 0.0

    def __post_init__(self) -> None:
        check(self.duration > 0, "duration", expected="> 0 fs", got=self.duration)

    def amplitude(self, window: TimeWindow) -> Tensor:
        """(N,) the spectrum without its chirp, real, float64; its sum is 1, the peak amplitude."""
        scaled = window.angular() * self.duration
        bell = torch.exp(-scaled.square() / (8 * math.log(2)))
        return bell / bell.sum()

    def spectrum(self, window: TimeWindow) -> Tensor:
        """(N,) the spectrum, complex128."""
        return torch.polar(self.amplitude(window), self.chirp / 2 * window.angular().square())
