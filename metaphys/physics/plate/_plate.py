"""A multimode oscillating plate."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any, final

import torch
from torch import Tensor

from metaphys._errors import check
from metaphys.physics._constants import Constant
from metaphys.physics._convolve import convolve
from metaphys.physics._ports import align
from metaphys.physics._waveform import WaveformSystem
from metaphys.physics.plate._design import PlateDesign
from metaphys.physics.plate._march import Ear, Read, march
from metaphys.physics.plate._mismatch import PlateMismatch
from metaphys.physics.plate._modes import Modes, modes
from metaphys.physics.plate._response import impulse_response, transfer
from metaphys.physics.plate._shapes import shapes


@final
class Plate(WaveformSystem):
    r"""A thin plate that a voice coil drives and a microphone hears: a force in, a voltage out.

    ::

        drive F_1 … F_N ──► amplifier ──► voice coil ──►┐ force at r0
                                           ┌────────────┴─────────┐
        (no controls of its own:           │   plate, K modes q_k │
         see Encoded)                      └──────────┬───────────┘
                                                      ┴ microphone at r ──► readout y_1 … y_{N+G}

    .. math::
        \ddot q_k + 2 z_k \omega_k \dot q_k + \omega_k^2 q_k + a_k q_k^3
            = \frac{\varphi_k(r_0)}{m_k} F(t), \qquad
        y(t) = g \sum_k \varphi_k(r) \Bigl(\ddot q_k - \frac{\varphi_k(r_0)}{m_k} F\Bigr).

    The force is constant within a sample, and y is taken at the end of each sample, as a
    converter at ``rate`` holds and samples. The plate starts at rest. The bracket is the
    acceleration without the memoryless term that only a truncated sum over modes has: the sum of
    phi(r) phi(r0) / m over all modes vanishes for r ≠ r0.

    The linear plate (``stiffening`` 0) is one exact convolution, y = g ∗ F, by FFT. The Duffing
    plate takes ``substeps`` steps a sample, each exact in the linear part and of second order in
    the cubic one (Strang), and keeps about √samples states for its gradient.

    Drive: F (..., N), in N. Readout: y (..., N + G), in V. It has no controls: what shares the
    channel with the data is in front of it (:class:`Encoded`). Physics is causal: y_n knows
    F_1 … F_n only, so a readout that shall know all of the drive lies in the guard time G.

    Source: Wright, Onodera et al., Nature 601, 549 (2022), arXiv:2104.13386: the oscillating
    plate, there a measured unit; Kirchhoff-Love theory in modal form.

    Args:
        design: material, geometry, boundary, damping, places; titanium by default.
        samples: N, the samples of the drive.
        guard: G, the silent samples after it that are read out too.
        rate: samples a second, in Hz.
        substeps: steps in a sample of the Duffing plate.
        checkpoint: samples between the states that the gradient of the Duffing plate keeps;
            ``None`` for √(N + G); N + G or more to keep everything, which is faster.
        mismatch: departure of this unit, or of each unit of a fleet, from the design. Tensors that
            require grad are differentiated like a drive.

    Raises:
        ValueError: ``samples``, ``substeps`` or ``checkpoint`` < 1, ``guard`` < 0, ``rate`` <= 0,
            or a mismatch of another size.

    Example:
        >>> plate = Plate(samples=196, guard=100)
        >>> [round(f) for f in plate.frequencies[:5].tolist()]          # of the free plate, Hz
        [3193, 4655, 5854, 8280, 8280]
        >>> plate(torch.ones(8, 196), {}).shape
        torch.Size([8, 296])
    """

    _arguments = ("design", "samples", "guard", "rate", "substeps", "checkpoint")

    def __init__(
        self,
        design: PlateDesign | None = None,
        *,
        samples: int = 196,
        guard: int = 0,
        rate: float = 192e3,
        substeps: int = 1,
        checkpoint: int | None = None,
        mismatch: PlateMismatch | None = None,
    ) -> None:
        super().__init__(samples, guard, rate, substeps)
        right = checkpoint is None or checkpoint >= 1
        check(right, "checkpoint", expected="a number of samples >= 1, or None", got=checkpoint)
        self.design = PlateDesign() if design is None else design
        self.checkpoint = checkpoint
        self.mismatch = PlateMismatch() if mismatch is None else mismatch
        self.units = self.mismatch.units(self.design.modes)
        self._shapes = shapes(self.design)
        self._kernel = Constant(getattr(self.mismatch, f.name) for f in fields(self.mismatch))

    @property
    def frequencies(self) -> Tensor:
        """The natural frequencies of the modes, (*units, K), float64, in Hz."""
        return self._modes().frequency / (2 * math.pi)

    def impulse_response(self) -> Tensor:
        """The kernel g of the linear plate, (*units, N + G), float64, in V/N: y = g ∗ F."""
        return self._response()

    def transfer(self, frequency: Tensor) -> Tensor:
        r"""The linear plate's response Y/F to a steady tone, complex, in V/N.

        .. math:: -\sum_k c_k b_k \frac{\omega_k^2 + 2 i z_k \omega_k \omega}
                  {\omega_k^2 - \omega^2 + 2 i z_k \omega_k \omega}

        of the force itself; what a held force lacks is the factor sinc(f / rate) and the delay of
        half a sample.

        Args:
            frequency: f (n,), in Hz.

        Returns:
            (*units, n).
        """
        return transfer(self._modes(), frequency)

    def trajectory(
        self, drive: Tensor, start: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Modal amplitudes q (m) and velocities v (m/s) at the end of every sample.

        Args:
            drive: F (..., N), in N.
            start: q and v at the beginning, each (..., K); at rest by default.

        Returns:
            Two tensors (N + G + 1, ..., K); the first row is the start.
        """
        self.ports.check(drive, {}, self.units)
        shape = (*drive.shape[:-1], self.design.modes)
        rest = drive.new_zeros(shape)
        q, v = (rest, rest) if start is None else (value.expand(shape) for value in start)
        states = self._march(drive, q, v, lambda _, q, v: torch.stack([q, v]))
        states = torch.cat([torch.stack([q, v]).unsqueeze(0), states])
        return states[:, 0], states[:, 1]

    def energy(self, q: Tensor, v: Tensor) -> Tensor:
        """The sum over modes of m (v²/2 + w² q²/2 + a q⁴/4), in J, of (..., K)."""
        m = self._aligned(q)
        potential = m.frequency.square() * q.square() / 2 + m.cubic * q**4 / 4
        return (m.mass * (v.square() / 2 + potential)).sum(-1)

    def _respond(self, drive: Tensor, controls: Any, settings: tuple[int, ...]) -> Tensor:
        if not self.design.stiffening:
            kernel = self._kernel.like(drive, self._response)
            return convolve(align(kernel, 1, drive.ndim - 1), drive)
        rest = drive.new_zeros(*drive.shape[:-1], self.design.modes)
        return self._march(drive, rest, rest, Ear.hear).movedim(0, -1)

    def _march(self, drive: Tensor, q: Tensor, v: Tensor, read: Read) -> Tensor:
        force = torch.nn.functional.pad(drive, (0, self.guard))
        found, dt = self._aligned(q.double()), 1 / self.rate
        return march(found, force, q, v, read, dt, self.substeps, self.checkpoint)

    def _response(self, on: torch.device | None = None) -> Tensor:
        return impulse_response(self._modes(on), 1 / self.rate, self.samples + self.guard)

    def _modes(self, on: torch.device | None = None) -> Modes:
        on = torch.device("cpu") if on is None else on
        return modes(self.design, self._shapes, self.mismatch, on)

    def _aligned(self, q: Tensor) -> Modes:
        """The modes for a state (..., K), in its dtype."""
        found = self._modes(q.device).to(q)
        return Modes(*(align(value, 1, q.ndim - 1) for value in found))
