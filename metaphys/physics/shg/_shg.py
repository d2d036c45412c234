"""Broadband second-harmonic generation."""

from __future__ import annotations

from typing import final

from torch import Tensor
from torch.fft import ifft

from metaphys._errors import check
from metaphys.physics.shg._crystal import Crystal
from metaphys.physics.shg._mismatch import SHGMismatch
from metaphys.physics.shg._optics import SecondHarmonic
from metaphys.physics.shg._propagate import SplitStep
from metaphys.physics.shg._pulse import Pulse
from metaphys.physics.shg._shaper import PulseShaper
from metaphys.physics.shg._spectrometer import Spectrometer
from metaphys.physics.shg._window import TimeWindow


@final
class SHG(SecondHarmonic):
    r"""The spectrum of a femtosecond pulse in, the spectrum of its second harmonic out.

    ::

        drive: n levels, data and controls interleaved
              │ │ │ … │
              ▼ ▼ ▼   ▼                    A1 ───────►  A1
        pulse ─► [ shaper ] ── A1(Ω) ──►  [ crystal, L ]  ── |A2(Ω)|² ─► [ spectrometer ]
        100 fs     n bins                   0 ───────►  A2                 m bins ─► readout

    In the crystal A1 feeds A2 and A2 feeds back on A1 (see :func:`propagate` for the equations);
    an output bin holds the energy of all pairs of frequencies with one sum, so every bin of the
    input acts on every bin of the output, quadratically.

    The drive is n amplitude levels, in [0, 1] on hardware; the system is defined for all real
    levels and does not clamp. There are no controls of its own: they share the shaper with the
    data, as in ``Encoded(SHG(), Interleaved())``, which also clamps. The readout is the energy in
    each bin over the energy of the unshaped pulse: conversion efficiencies.

    Energies differ by orders of magnitude between the middle and the edges of the spectrum: start
    weights behind the readout at 1 / the mean of each bin.

    Source: Wright, Onodera et al., Nature 601, 549 (2022), Methods, "Ultrafast second-harmonic
    generation". Where we differ: their twin is a network fitted to measurements; this is the
    physics.

    Args:
        crystal: by default 0.5 mm of BBO, G L = 0.5.
        pulse: by default 100 fs.
        shaper: by default 100 bins within 8.8 THz, twice the width of the pulse's spectrum.
        spectrometer: by default 50 bins within 8.8 THz.
        window: by default 64 ps, 2048 times.
        steps: number of steps through the crystal, by Strang splitting.
        mismatch: departure of this unit, or of each unit of a fleet, from all of that. Tensors
            that require grad are differentiated.

    Raises:
        ValueError: ``steps`` < 1, a mismatch that does not fit or has a ``depletion``, or a window
            whose bandwidth does not hold the second harmonic, or whose duration does not hold the
            pulse.

    Example:
        >>> import torch
        >>> from metaphys.physics import Encoded, Interleaved
        >>> shg = SHG()
        >>> encoded = Encoded(shg, Interleaved())
        >>> encoded.ports.drive, encoded.ports.controls, encoded.ports.readout
        (50, {'inserted': (50,)}, 50)
        >>> efficiency = shg(torch.ones(100), {}).sum()                 # of the unshaped pulse
        >>> round(float(efficiency), 2)
        0.11
    """

    def __init__(
        self,
        *,
        crystal: Crystal | None = None,
        pulse: Pulse | None = None,
        shaper: PulseShaper | None = None,
        spectrometer: Spectrometer | None = None,
        window: TimeWindow | None = None,
        steps: int = 20,
        mismatch: SHGMismatch | None = None,
    ) -> None:
        check(steps >= 1, "steps", expected=">= 1", got=steps)
        given = None if mismatch is None else mismatch.depletion
        remedy = "The split step depletes its pump by itself; a ThinSHG takes it."
        check(given is None, "mismatch.depletion", expected="None", got=given, remedy=remedy)
        self.steps = steps
        super().__init__(
            crystal=crystal,
            pulse=pulse,
            shaper=shaper,
            spectrometer=spectrometer,
            window=window,
            mismatch=mismatch,
        )

    def with_mismatch(self, mismatch: SHGMismatch | None) -> SHG:
        return SHG(**{**self.setup(), "mismatch": mismatch}, steps=self.steps)

    def _convert(self, spectrum: Tensor, crystal: Crystal) -> tuple[Tensor, float | Tensor]:
        march = SplitStep(crystal, self.window, self.steps)
        _, b = march.run(march.enter(spectrum))
        return ifft(b), 1 / march.kappa  # the last half step only turns phases
