"""Levenberg-Marquardt for a model with unknown noise and standard normal parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor
from torch.func import jvp, vjp, vmap

Model = Callable[[Tensor], Tensor]
"""Scores z (p,) to readouts (n,), float64."""

FLOOR = 1e-9
"""The least noise that is believed, as a part of the readouts' root mean square."""


@final
@dataclass(frozen=True)
class Solution:
    """Where the descent ended.

    Attributes:
        z: the scores (p,) of the greatest posterior.
        noise: standard deviation of the readouts' noise, given or estimated.
        values: singular values (p,) of the Jacobian over the noise, greatest first.
        vectors: (p, p), their right singular vectors in rows.
        steps: steps that were taken.
        converged: whether the last one was below the tolerance.
    """

    z: Tensor
    noise: float
    values: Tensor
    vectors: Tensor
    steps: int
    converged: bool


ELEMENTS = 2**22
"""Numbers read out in the sweeps that run at a time."""


def solve(
    model: Model,
    target: Tensor,
    start: Tensor,
    *,
    noise: float | None,
    steps: int,
    tolerance: float,
) -> Solution:
    r"""Minimise |f(z) − y|² / 2σ² + |z|² / 2 from a start z.

    Every step solves the linearised problem exactly by the singular values s of J/σ, with
    Marquardt's damping λ where it would not descend:

    .. math:: \Delta z = -V \operatorname{diag}\frac{1}{s^2 + 1 + \lambda}\, V^\top
              (J^\top (f - y) / \sigma^2 + z).

    Without ``noise`` its variance is |f − y|² / (n − γ) after every step, with the number of well
    determined parameters γ = Σ s²/(s² + 1).

    Source: D. W. Marquardt, J. SIAM 11, 431 (1963); D. J. C. MacKay, Neural Computation 4, 415
    (1992), Eq. 4.8 and below, for the noise.
    """
    z = start
    least = FLOOR * float(target.square().mean().sqrt()) + torch.finfo(target.dtype).tiny
    residual = model(z) - target
    sigma = max(float(residual.square().mean().sqrt()), least) if noise is None else noise
    damping, taken, converged = 0.0, 0, False
    values, vectors = _singular(jacobian(model, z, len(target)))
    while taken < steps and not converged:
        found = _descend(model, target, z, residual, sigma, (values, vectors), damping)
        if found is None:
            converged = True  # No step of any length descends: as low as rounding allows.
            break
        step, residual, damping = found
        z, taken = z + step, taken + 1
        values, vectors = _singular(jacobian(model, z, len(target)))
        settled = True
        if noise is None:
            before, s = sigma, (values / sigma).square()
            free = max(len(target) - float((s / (s + 1)).sum()), 1.0)
            sigma = max(float(residual.square().sum() / free) ** 0.5, least)
            settled = abs(sigma - before) <= 1e-2 * before
        converged = settled and float(step.abs().max()) <= tolerance
    return Solution(z, sigma, values / sigma, vectors, taken, converged)


def jacobian(model: Model, z: Tensor, outputs: int) -> Tensor:
    """(n, p), by forward or reverse mode, whichever has fewer sweeps."""
    forward = len(z) <= outputs
    basis = torch.eye(min(len(z), outputs), dtype=z.dtype, device=z.device)
    at_once = max(1, ELEMENTS // outputs)  # each sweep holds the model's intermediate values
    if forward:
        return vmap(lambda v: jvp(model, (z,), (v,))[1], chunk_size=at_once)(basis).mT
    back: Any = vjp(model, z)[1]
    return vmap(lambda v: back(v)[0], chunk_size=at_once)(basis)


def _singular(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """All p singular values and right vectors of (n, p), those of value 0 included."""
    n, p = matrix.shape
    square = torch.linalg.qr(matrix, mode="r").R if n > p else matrix
    _, values, vectors = torch.linalg.svd(square, full_matrices=True)
    return torch.nn.functional.pad(values, (0, p - len(values))), vectors


def _descend(
    model: Model,
    target: Tensor,
    z: Tensor,
    residual: Tensor,
    sigma: float,
    singular: tuple[Tensor, Tensor],
    damping: float,
) -> tuple[Tensor, Tensor, float] | None:
    """A step that lowers the cost, the residual after it, and the damping to go on with."""
    values, vectors = singular
    slope: Any = vjp(model, z)[1]
    gradient = slope(residual)[0] / sigma**2 + z
    along, s = vectors @ gradient, (values / sigma).square()
    cost = _cost(residual, sigma, z)
    for _ in range(12):
        step = -vectors.mT @ (along / (s + 1 + damping))
        after = model(z + step) - target
        # What is not finite lies outside of the model's domain and is no descent either.
        if bool(_cost(after, sigma, z + step) < cost):
            return step, after, damping / 10 if damping > 1e-9 * float(s[0]) else 0.0
        damping = max(10 * damping, 1e-4 * (float(s[0]) + 1))
    return None


def _cost(residual: Tensor, sigma: float, z: Tensor) -> Tensor:
    return ((residual / sigma).square().sum() + z.square().sum()) / 2
