"""What every model of the set-up shares: shaper in front of the crystal, spectrometer behind it."""

from __future__ import annotations

import abc
from typing import Any, final

import torch
from torch import Tensor

from metaphys._errors import check
from metaphys.physics._ports import Ports
from metaphys.physics._system import System
from metaphys.physics.shg._crystal import Crystal
from metaphys.physics.shg._mismatch import SHGMismatch, aligned
from metaphys.physics.shg._pulse import Pulse
from metaphys.physics.shg._shaper import PulseShaper
from metaphys.physics.shg._spectrometer import Spectrometer
from metaphys.physics.shg._window import TimeWindow


class SecondHarmonic(System):
    """A shaped pulse, a crystal, a spectrometer; what happens in the crystal is a subclass's.

    Attributes:
        crystal, pulse, shaper, spectrometer, window: the set-up.
        mismatch: how this unit, or each unit of a fleet, departs from it.
    """

    def __init__(
        self,
        *,
        crystal: Crystal | None = None,
        pulse: Pulse | None = None,
        shaper: PulseShaper | None = None,
        spectrometer: Spectrometer | None = None,
        window: TimeWindow | None = None,
        mismatch: SHGMismatch | None = None,
    ) -> None:
        self.crystal = Crystal.bbo() if crystal is None else crystal
        self.pulse = Pulse() if pulse is None else pulse
        self.shaper = PulseShaper() if shaper is None else shaper
        self.spectrometer = Spectrometer() if spectrometer is None else spectrometer
        self.window = TimeWindow() if window is None else window
        self.mismatch = SHGMismatch() if mismatch is None else mismatch
        widest = max(2 * self.shaper.span, self.spectrometer.span)
        check(
            widest <= self.window.bandwidth,
            "window",
            expected=f"of a bandwidth of at least {widest:.4g} THz (the second harmonic is twice "
            "as wide as the shaper's span)",
            got=f"{self.window.bandwidth:.4g} THz",
            remedy="Take more points.",
        )
        least = 5e-3 * self.pulse.duration
        check(
            self.window.duration >= least,
            "window",
            expected=f"of a duration of at least {least:.4g} ps, five times the pulse's",
            got=f"{self.window.duration:.4g} ps",
            remedy="Durations of windows are in ps, those of pulses in fs.",
        )
        self.units = self.mismatch.units(self.shaper.bins)
        self.ports = Ports(self.shaper.bins, {}, self.spectrometer.bins)
        # The same for every call, and float64: what a call casts is exact to its own precision.
        self._shape = self.shaper.matrix(self.pulse, self.window)
        self._read = _both_parts(self.spectrometer.matrix(self.window))
        self._energy = float(self.pulse.amplitude(self.window).square().sum())

    @final
    def __repr__(self) -> str:
        units = f", units={self.units}" if self.units else ""
        return f"{type(self).__name__}({self.crystal}, {self.pulse}{units})"

    @final
    def setup(self) -> dict[str, Any]:
        """The arguments that make this set-up: ``ThinSHG(**shg.setup())`` is its thin model."""
        names = ("crystal", "pulse", "shaper", "spectrometer", "window", "mismatch")
        return {name: getattr(self, name) for name in names}

    @abc.abstractmethod
    def with_mismatch(self, mismatch: SHGMismatch | None) -> SecondHarmonic:
        """The same set-up with another mismatch (``None``: the nominal one)."""

    @final
    def init_controls(
        self,
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> dict[str, Tensor]:
        """None: controls enter through the shaper, with the data."""
        return {}

    @abc.abstractmethod
    def _convert(self, spectrum: Tensor, crystal: Crystal) -> tuple[Tensor, float | Tensor]:
        """The spectrum of A2, but for phases, and a factor on it, of that of A1; (..., N) each.

        The factor is a number, or one for each unit (*units, ..., 1).
        """

    @final
    def entrance(self, drive: Tensor) -> Tensor:
        """(..., N) the spectrum of A1 at the entrance of the crystal, complex."""
        amplitude = self.mismatch.set_levels(drive) @ self._shape.to(drive)
        chirp = self.mismatch.chirp
        if chirp is None and self.pulse.chirp == 0:
            return torch.complex(amplitude, torch.zeros_like(amplitude))
        chirp = self.pulse.chirp + (0 if chirp is None else aligned(chirp, drive))
        phase = (chirp / 2 * self.window.angular().to(drive.device).square()).to(drive.dtype)
        return torch.polar(torch.ones_like(phase), phase) * amplitude

    @final
    def _respond(self, drive: Tensor, controls: Any, settings: tuple[int, ...]) -> Tensor:
        crystal = self.mismatch.crystal(self.crystal, drive)
        spectrum, factor = self._convert(self.entrance(drive), crystal)
        factor = factor.to(drive) if isinstance(factor, Tensor) else factor
        # Real and imaginary parts are summed by the matrix, in one pass over the field.
        squares = torch.view_as_real(spectrum).square().flatten(-2)
        if self.mismatch.shift is None:
            readout = squares @ self._read.to(drive)
        else:
            matrix = self.spectrometer.matrix(self.window, self.mismatch.shift.to(drive))
            rows = squares.reshape(*matrix.shape[:-2], -1, squares.shape[-1])
            readout = rows @ _both_parts(matrix).to(drive)
            readout = readout.reshape(*drive.shape[:-1], self.ports.readout)
        return readout * (factor**2 / self._energy)


def _both_parts(matrix: Tensor) -> Tensor:
    """A matrix (..., N, m) on energies as one (..., 2 N, m) on squares of parts."""
    return matrix.repeat_interleave(2, -2)
