"""The grid of times and detunings that a pulse is sampled on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from metaphys._errors import check


@dataclass(frozen=True)
class TimeWindow:
    r"""The periodic time window of a simulation.

    Fields are sampled at N times and expanded in :math:`e^{-i\Omega t}`, so that a positive
    detuning is a higher optical frequency: the field is ``torch.fft.fft`` of its spectrum and the
    spectrum ``torch.fft.ifft`` of the field. A pulse shaped in bins of width b lasts about 1/b,
    with wings that fall as 1/t: the window has to be several times longer.

    Attributes:
        duration: T, ps; the spacing of the detunings is 1/T.
        points: N; the detunings cover N/T.

    Raises:
        ValueError: ``duration`` <= 0 or ``points`` < 1.

    Example:
        >>> TimeWindow(duration=4.0, points=4).detunings()              # THz
        tensor([ 0.0000,  0.2500, -0.5000, -0.2500], dtype=torch.float64)
    """

    duration: float = 64.0
    points: int = 2048

    def __post_init__(self) -> None:
        check(self.duration > 0, "duration", expected="> 0 ps", got=self.duration)
        check(self.points >= 1, "points", expected=">= 1", got=self.points)

    @property
    def bandwidth(self) -> float:
        """The width of the band of detunings, THz."""
        return self.points / self.duration

    def detunings(self) -> Tensor:
        """(N,) detunings from the carrier, THz, float64, in the order of ``torch.fft``."""
        step = self.duration / self.points
        return torch.fft.fftfreq(self.points, step, dtype=torch.float64)

    def angular(self) -> Tensor:
        """(N,) detunings as angular frequencies, rad/fs."""
        return 2e-3 * math.pi * self.detunings()

    def overlap(self, bins: int, span: float, shift: Tensor | None = None) -> Tensor:
        """How much of each grid cell lies in each of ``bins`` equal bins of a band.

        Args:
            bins: n.
            span: width of the band, THz; its middle is the carrier.
            shift: (..., 1) by how much the bins lie higher than they should, THz.

        Returns:
            (..., N, n), fractions in [0, 1], float64. It is continuous in ``shift``.
        """
        cell = 1 / self.duration
        edges = torch.linspace(-span / 2, span / 2, bins + 1, dtype=torch.float64)
        edges = edges if shift is None else edges + shift
        centre = self.detunings().unsqueeze(-1)
        low, high = edges[..., None, :-1], edges[..., None, 1:]
        common = torch.minimum(high, centre + cell / 2) - torch.maximum(low, centre - cell / 2)
        return common.clamp(min=0) / cell
