r"""The circuit without its nonlinearity, solved exactly from sample to sample.

With :math:`Z = \sqrt{L/C}`, :math:`\omega_0 = 1/\sqrt{LC}` and x = (Z i, v), where u is the source
and y the base current,

.. math::
    \dot x = \begin{pmatrix} -R/L & -\omega_0 \\ \omega_0 & 0 \end{pmatrix} x
             + \begin{pmatrix} \omega_0 \\ 0 \end{pmatrix} u
             - \begin{pmatrix} 0 \\ 1/C \end{pmatrix} y.

For inputs that are straight lines from step to step the solution is exact with the φ functions of
exponential integrators (Hochbruck and Ostermann, Acta Numerica 19, 209 (2010), eq. 2.10):
x' = M x + P0 w + P1 w' with M = exp(A dt), P1 = dt φ2(A dt) B, P0 = dt φ1(A dt) B - P1.

Subtracting the end value's share, ξ = x - P1 w, gives ξ' = M ξ + (M P1 + P0) w: the response to
earlier inputs alone. So v = ξ_v + P1_v w, where only the last term sees the input of that instant.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Step(NamedTuple):
    """One step of length dt: what an input w does at once, and one step later.

    Attributes:
        matrix: M, (U, 2, 2).
        at_once: P1_v for (source, base current), (U, 2).
        later: M P1 + P0, (U, 2 states, 2 inputs).
    """

    matrix: Tensor
    at_once: Tensor
    later: Tensor


def exact_step(part: dict[str, Tensor], dt: float, hold: str) -> Step:
    """The step for component values (U,); ``hold`` says what the source does between samples."""
    L, C = part["L"], part["C"]
    damping = (part["R1"] + part["RL"]) / L * dt
    swing = dt / (L * C).sqrt()
    zero = torch.zeros_like(swing)
    generator = torch.stack([-damping, -swing, swing, zero], -1).unflatten(-1, (2, 2))
    inputs = torch.stack([swing, zero, zero, -dt / C], -1).unflatten(-1, (2, 2))
    # exp of [[A, 1, 0], [0, 0, 1], [0, 0, 0]] has (exp A, φ1, φ2) as its first row of blocks.
    one = torch.eye(2, dtype=swing.dtype, device=swing.device).expand_as(generator)
    none = torch.zeros_like(generator)
    rows = ([generator, one, none], [none, none, one], [none, none, none])
    blocks = torch.cat([torch.cat(row, -1) for row in rows], -2)
    matrix, phi1, phi2 = torch.linalg.matrix_exp(blocks)[..., :2, :].split(2, -1)
    end = phi2 @ inputs
    start = phi1 @ inputs - end
    if hold == "step":  # the source holds the new value over the whole step
        held = torch.tensor([1.0, 0.0], dtype=swing.dtype, device=swing.device)
        end, start = end + held * start, start - held * start
    return Step(matrix, end[..., 1, :], matrix @ end + start)


def response(matrix: Tensor, start: Tensor, length: int) -> Tensor:
    """Component v of M^n ``start`` for n = 0 … length - 1: (U, length) from (U, 2), by doubling."""
    columns, power = start.unsqueeze(-1), matrix
    while columns.shape[-1] < length:
        columns = torch.cat([columns, power @ columns], -1)
        power = power @ power
    return columns[..., 1, :length]


def kernel(matrix: Tensor, later: Tensor, at_once: Tensor, length: int) -> Tensor:
    """Impulse response (U, length) of v to one input."""
    past = response(matrix, later, max(length - 1, 1))[..., : length - 1]
    return torch.cat([at_once.unsqueeze(-1), past], -1)
