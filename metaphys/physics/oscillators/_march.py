"""The integrator of the oscillator array: classical Runge-Kutta steps with everything folded in."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor

from metaphys.physics._ports import align
from metaphys.physics._scan import Flat, scan
from metaphys.physics.oscillators._mismatch import OscillatorMismatch

LONG = 256
"""Steps from which on the gradient keeps some states instead of every step's graph."""


def force_matrix(coupling: Tensor, scale: float) -> Tensor:
    """``scale`` · (J − diag(row sums of J) − 1), of C (..., N, N): force = sin(q) @ this + e."""
    symmetric = (coupling + coupling.mT) * (scale / 2)
    return symmetric - torch.diag_embed(symmetric.sum(-1) + scale)


class March:
    """RK4 on (q, u = dt · q'), for a force that does not depend on the velocity.

    Everything constant is folded in before the first step, because the steps are what training
    spends its time on: the row sums and the restoring force into one matrix, dt² into matrix and
    force, and the gain, through p = (1 + eta) q, into both; a stage is then one sine, one matrix
    product and one sum.
    """

    def __init__(
        self,
        mismatch: OscillatorMismatch,
        dt: float,
        drive: Tensor,
        controls: Any,
        settings: tuple[int, ...],
    ) -> None:
        self.shape, count, size = drive.shape, len(settings), drive.shape[-1]
        coupling, force = controls["coupling"], controls["force"]
        offset, gain = mismatch.coupling, mismatch.gain
        tolerance = mismatch.tolerance
        if tolerance is not None:
            relative = 1 + (tolerance + tolerance.mT).to(drive) / 2
            coupling = align(coupling, 2, count) * align(relative, 2, count)
        if offset is not None:
            coupling = align(coupling, 2, count) + align(offset.to(drive), 2, count)
        matrix, bias = force_matrix(coupling, dt**2), force * dt**2
        rows, self.scale = -1 if not count else math.prod(settings), None
        if gain is not None:
            factor = align(gain.to(drive) + 1, 1, count)
            matrix = align(matrix, 2, count) * factor.unsqueeze(-2)
            bias = align(bias, 1, count) * factor
            self.scale = factor.expand(*settings, factor.shape[-1]).unsqueeze(-2)
            self.scale = self.scale.reshape(rows, 1, -1) if count else self.scale
        if count:
            matrix = align(matrix, 2, count).expand(*settings, size, size)
            bias = align(bias, 1, count).expand(*settings, size)
            self.matrix, self.bias = matrix.reshape(rows, size, size), bias.reshape(rows, 1, size)
            q = drive.reshape(rows, math.prod(drive.shape[count:-1]), size)
        else:
            self.matrix, self.bias = matrix, bias
            q = drive.reshape(-1, size)
        self.multiply_add = torch.baddbmm if count else torch.addmm
        self.start = q if self.scale is None else q * self.scale

    def readout(self, q: Tensor) -> Tensor:
        return (q if self.scale is None else q / self.scale).reshape(self.shape)

    def kick(self, q: Tensor) -> Tensor:
        """dt² times the acceleration at q."""
        return self.multiply_add(self.bias, q.sin(), self.matrix)

    def first(self, q: Tensor) -> tuple[Tensor, Tensor]:
        """The step from rest, where the first two stages coincide."""
        k1 = self.kick(q)
        k3 = self.kick(torch.add(q, k1, alpha=0.25))
        k4 = self.kick(torch.add(q, k1, alpha=0.5))
        total = torch.add(k3, k1, alpha=2)
        return torch.add(q, total, alpha=1 / 6), (total + k1 + k3 + k4) / 6

    def step(self, q: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        half, drift = torch.add(q, u, alpha=0.5), q + u
        k1, k2 = self.kick(q), self.kick(half)
        k3 = self.kick(torch.add(half, k1, alpha=0.25))
        k4 = self.kick(torch.add(drift, k2, alpha=0.5))
        middle = k2 + k3
        total = k1 + middle
        velocity = torch.add(u, total + middle + k4, alpha=1 / 6)
        return torch.add(drift, total, alpha=1 / 6), velocity

    def steps(self, q: Tensor, u: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """``count`` steps."""
        if count >= LONG:
            return self._scanned(q, u, count)
        for _ in range(count):
            q, u = self.step(q, u)
        return q, u

    def _scanned(self, q: Tensor, u: Tensor, count: int) -> tuple[Tensor, Tensor]:
        nothing = q.new_empty(count, 0)

        def body(carry: Flat, consts: Flat, x: Flat) -> tuple[Flat, Tensor]:
            march = copy.copy(self)
            march.matrix, march.bias = consts
            return march.step(*carry), x[0]

        (q, u), _ = scan(body, (q, u), (self.matrix, self.bias), (nothing,))
        return q, u

    def last(self, q: Tensor, u: Tensor | None) -> Tensor:
        """The step whose velocity nobody reads: one stage less (``None``: it is also the first)."""
        k1 = self.kick(q)
        if u is None:
            half = drift = q
            k2 = k1
        else:
            half, drift = torch.add(q, u, alpha=0.5), q + u
            k2 = self.kick(half)
        k3 = self.kick(torch.add(half, k1, alpha=0.25))
        return torch.add(drift, k1 + k2 + k3, alpha=1 / 6)
