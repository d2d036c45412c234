"""How the readout of an oscillator array depends on its couplings and gains: an adjoint sweep."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from metaphys.physics.oscillators._array import OscillatorArray
from metaphys.physics.oscillators._march import March


class Sensitivity(NamedTuple):
    """The readouts (B, N) of B samples and what they change by.

    Attributes:
        readout: (B, N), in rad.
        coupling: (B, N, N (N − 1) / 2), by the couplings J_ab = J_ba, a < b, row by row.
        gain: (B, N, N), by the gain of each oscillator.
    """

    readout: Tensor
    coupling: Tensor
    gain: Tensor


def sensitivity(system: OscillatorArray, drive: Tensor, controls: Any) -> Sensitivity:
    r"""Readouts and their derivatives by all the couplings and gains of one unit.

    In p = (1 + η) q a stage s of a step is :math:`k_s = \sin(p_s) F + b`. With
    :math:`\Lambda_s = \partial y / \partial k_s`, swept backwards once for all N readouts,

    .. math:: \frac{\partial y_i}{\partial F_{ba}} = \sum_s (\Lambda_s)_{ia} \sin (p_s)_b ,

    so that the derivatives by N (N − 1) / 2 couplings cost no more sweeps than those by one. It is
    what reverse mode would do, without making the matrix of every sample anew for every readout.

    Args:
        system: one unit.
        drive: (B, N), in rad.
        controls: one setting, or one for each sample (B, ...).
    """
    settings = system.ports.check(drive, controls, system.units)
    march = March(system.mismatch, system.dt, drive, controls, settings)
    many = march.matrix.ndim == 3
    start = march.start if many else march.start.unsqueeze(0)
    matrix = march.matrix if many else march.matrix.unsqueeze(0)
    factor = _factor(march, start)
    last, stages = _forward(march, start, system.steps, many)
    readout = (last / factor).reshape(drive.shape)
    by_start, by_kick = _backward(stages, matrix, factor)
    sines = torch.stack([p.sin() for p, _ in stages], -2).flatten(0, 1)
    kicks = torch.stack([k for _, k in stages], -2).flatten(0, 1)
    adjoint = torch.stack(by_kick, -2).flatten(0, 1)  # (B, N readouts, stages, N)
    size = drive.shape[-1]
    factors = factor.expand_as(start).reshape(-1, size)
    gain = (adjoint * (kicks / factors.unsqueeze(-2)).unsqueeze(1)).sum(-2)
    gain = gain + by_start.flatten(0, 1) * drive.reshape(-1, 1, size)
    gain = gain - torch.diag_embed(readout / factors)
    scaled = adjoint * (system.dt**2 * factors)[:, None, None]
    return Sensitivity(readout, _by_pairs(scaled, sines), gain)


def _factor(march: March, start: Tensor) -> Tensor:
    """1 + η, as (settings or 1, 1, N)."""
    ones = torch.ones_like(start[:, :1])
    return ones if march.scale is None else ones * march.scale


Stage = tuple[Tensor, Tensor]
"""Where the force is taken, and dt² times the acceleration there."""


def _forward(march: March, start: Tensor, steps: int, many: bool) -> tuple[Tensor, list[Stage]]:
    stages: list[Stage] = []

    def kick(p: Tensor) -> Tensor:
        value = march.kick(p) if many else march.kick(p[0]).unsqueeze(0)
        stages.append((p, value))
        return value

    q, u = start, torch.zeros_like(start)
    for _ in range(steps):
        half, drift = q + u / 2, q + u
        k1, k2 = kick(q), kick(half)
        k3, k4 = kick(half + k1 / 4), kick(drift + k2 / 2)
        q, u = drift + (k1 + k2 + k3) / 6, u + (k1 + 2 * (k2 + k3) + k4) / 6
    return q, stages


def _backward(stages: list[Stage], matrix: Tensor, factor: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Derivatives of the readouts by where the march starts, and by the kick of every stage."""
    settings, samples, size = stages[0][0].shape
    eye = torch.eye(size, dtype=matrix.dtype, device=matrix.device)
    q = (eye / factor.unsqueeze(-2)).expand(settings, samples, size, size)
    u, found = torch.zeros_like(q), []

    def through(kick: Tensor, stage: Stage) -> Tensor:
        found.append(kick)
        flat = kick.reshape(settings, samples * size, size) @ matrix.mT
        return flat.reshape(kick.shape) * stage[0].cos().unsqueeze(-2)

    for first in range(len(stages) - 4, -1, -4):
        s1, s2, s3, s4 = stages[first : first + 4]
        p4 = through(u / 6, s4)
        p3 = through(q / 6 + u / 3, s3)
        p2 = through(q / 6 + u / 3 + p4 / 2, s2)
        p1 = through((q + u) / 6 + p3 / 4, s1)
        q, u = q + p1 + p2 + p3 + p4, u + q + (p2 + p3) / 2 + p4
    return q, found[::-1]


def _by_pairs(adjoint: Tensor, sines: Tensor) -> Tensor:
    """By J_ab, which is in the forces of a and b with both signs: (B, N, pairs)."""
    size = sines.shape[-1]
    products = adjoint.mT @ sines.unsqueeze(1)  # (B, N, a, b): the force of a by sin of b
    products = products - products.diagonal(dim1=-2, dim2=-1).unsqueeze(-1)
    rows, columns = torch.triu_indices(size, size, 1, device=sines.device)
    flat = products.flatten(-2)
    return flat[..., rows * size + columns] + flat[..., columns * size + rows]
