"""The distribution of a unit's mismatch given its readouts, for thousands of unknowns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from metaphys._errors import check
from metaphys.physics._unknowns import Unknowns
from metaphys.physics.twins._gauss_newton import Problem, descend, precision

BELIEVED = 0.3
"""The least noise that is assumed on the way, as a part of what is not explained yet."""


@final
@dataclass(frozen=True)
class Posterior:
    """A Gaussian over the scores of :class:`Unknowns`, around the most probable ones.

    Attributes:
        unknowns: what was inferred, with its prior.
        z: (p,), the most probable scores, float64.
        factor: (p, p), lower Cholesky factor of the precision of the scores.
        noise: the standard deviation of the readouts' noise that was assumed.
        misfit: root mean square of what is left at z.
        used: the numbers read out that determined scores, tr(H⁻¹ JᵀJ/σ²) (MacKay's γ).
        steps: Gauss-Newton steps that were taken.
        converged: whether the last one was below the tolerance.
    """

    unknowns: Unknowns
    z: Tensor
    factor: Tensor
    noise: float
    misfit: float
    used: float
    steps: int
    converged: bool

    @property
    def twin(self) -> Any:
        """The system at the most probable scores, in the default dtype."""
        return self.unknowns.system(self.z.to(torch.get_default_dtype()))

    @property
    def variance(self) -> Tensor:
        """(p,) variances of the scores: 1 where the readouts say nothing."""
        return torch.cholesky_inverse(self.factor).diagonal()

    def scores(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """``count`` draws (count, p) of the scores."""
        white = torch.randn(self.factor.shape[0], count, generator=generator, dtype=torch.float64)
        spread = torch.linalg.solve_triangular(self.factor.mT, white.to(self.factor), upper=True)
        return self.z + spread.mT

    def draw(self, count: int, generator: torch.Generator | None = None) -> Any:
        """A fleet of ``count`` units as they may be, in the default dtype."""
        return self.unknowns.system(self.scores(count, generator).to(torch.get_default_dtype()))


def infer(
    unknowns: Unknowns,
    drives: Tensor,
    readouts: Tensor,
    *,
    noise: float,
    controls: Any = None,
    start: Tensor | None = None,
    draws: int = 0,
    steps: int = 30,
    tolerance: float = 1e-3,
) -> Posterior:
    r"""Infer the mismatch of one unit from its readouts.

    It minimises :math:`|f_z(x) - y|^2 / 2 \sigma^2 + |z|^2 / 2` by Gauss-Newton steps through the
    normal equations, with Marquardt's damping where a step would not descend. While more is
    unexplained than noise, σ is taken as 0.3 of the misfit: far from the solution the error of the
    linearisation is what there is to be robust to. Where :func:`calibrate` decomposes the Jacobian
    by singular values, this accumulates JᵀJ over the drives: O(n p²) once instead of twenty times,
    and nothing of size n p is held.

    Args:
        unknowns: what to infer, with its prior.
        drives: (B, ``ports.drive``), what the unit was driven with.
        readouts: (B, ``ports.readout``), what it answered.
        noise: standard deviation σ > 0 of the readouts' noise, in their unit; of exact readouts
            that of their rounding.
        controls: those of the measurement, one setting or one for each drive; by default those of
            a system that has none.
        start: scores (p,) to start from, such as those of an earlier posterior.
        draws: units drawn from the prior. The descent begins at the nearest of them and ``start``:
            a resonance that is off by more than a period over the waveform makes local minima.
            Some 1000 tell a plate's 22 unknowns.
        steps: the most steps.
        tolerance: the change of z, in the prior's deviations, that ends it.

    Raises:
        TypeError, ValueError: shapes do not fit, readouts are not finite, or ``noise`` <= 0.

    Example:
        >>> from metaphys.physics import OscillatorArray, OscillatorSpread, OscillatorUnknowns
        >>> array, spread = OscillatorArray(6), OscillatorSpread(coupling=1.0, gain=0.1)
        >>> unit = spread.single(array, seed=3)
        >>> drives = 3 * torch.rand(8, 6, generator=torch.Generator().manual_seed(0)) - 1.5
        >>> controls = {"coupling": torch.zeros(6, 6), "force": torch.zeros(6)}
        >>> unknowns = OscillatorUnknowns.of(array, spread)
        >>> found = infer(unknowns, drives, unit(drives, controls), controls=controls, noise=1e-6)
        >>> offset = unit.mismatch.coupling
        >>> error = found.twin.mismatch.coupling - (offset + offset.mT).triu(1) / 2
        >>> found.converged, bool(error.triu(1).abs().max() < 1e-3)
        (True, True)
    """
    problem = Problem(unknowns, drives, readouts, {} if controls is None else controls, noise)
    zero = torch.zeros(unknowns.size, dtype=torch.float64, device=drives.device)
    z = zero if start is None else start.detach().to(zero)
    check(z.shape == zero.shape, "start", expected=f"of shape {tuple(zero.shape)}", got=z.shape)
    z = problem.nearest(z, draws) if draws else z
    damping, taken, converged = 0.0, 0, False
    normal, slope, misfit = problem.at(z)
    while taken < steps and not converged:
        sigma = max(noise, BELIEVED * misfit)
        moved = descend(problem, z, normal, slope, misfit, sigma, damping)
        if moved is None:
            converged = True  # No step of any length descends: as low as rounding allows.
            break
        step, damping = moved
        z, taken = z + step, taken + 1
        normal, slope, misfit = problem.at(z)
        converged = sigma == noise and float(step.abs().max()) <= tolerance
    factor = torch.linalg.cholesky(precision(normal, noise, 0.0))
    used = unknowns.size - float(torch.cholesky_inverse(factor).diagonal().sum())
    return Posterior(unknowns, z, factor, noise, misfit, used, taken, converged)
