"""The distribution of a unit's mismatch given its readouts, for thousands of unknowns."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, final

import optree
import torch
from torch import Tensor

from metaphys._errors import check
from metaphys.physics._ports import is_shape
from metaphys.physics._unknowns import Unknowns

AT_ONCE = 64
"""Drives whose derivatives are held at a time."""

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
    problem = _Problem(unknowns, drives, readouts, {} if controls is None else controls, noise)
    zero = torch.zeros(unknowns.size, dtype=torch.float64, device=drives.device)
    z = zero if start is None else start.detach().to(zero)
    check(z.shape == zero.shape, "start", expected=f"of shape {tuple(zero.shape)}", got=z.shape)
    damping, taken, converged = 0.0, 0, False
    normal, slope, misfit = problem.at(z)
    while taken < steps and not converged:
        sigma = max(noise, BELIEVED * misfit)
        moved = _descend(problem, z, normal, slope, misfit, sigma, damping)
        if moved is None:
            converged = True  # No step of any length descends: as low as rounding allows.
            break
        step, damping = moved
        z, taken = z + step, taken + 1
        normal, slope, misfit = problem.at(z)
        converged = sigma == noise and float(step.abs().max()) <= tolerance
    factor = torch.linalg.cholesky(_precision(normal, noise, 0.0))
    used = unknowns.size - float(torch.cholesky_inverse(factor).diagonal().sum())
    return Posterior(unknowns, z, factor, noise, misfit, used, taken, converged)


class _Problem:
    """Drives and readouts of one unit, in float64."""

    def __init__(
        self, unknowns: Unknowns, drives: Tensor, readouts: Tensor, controls: Any, noise: float
    ) -> None:
        unknowns.ports.check(drives, controls)
        got = tuple(getattr(drives, "shape", ()))
        check(drives.ndim == 2, "drives", expected=f"(B, {unknowns.ports.drive})", got=got)
        expected = (drives.shape[0], unknowns.ports.readout)
        fits = isinstance(readouts, Tensor) and tuple(readouts.shape) == expected
        got = getattr(readouts, "shape", type(readouts).__name__)
        check(fits and len(drives) > 0, "readouts", expected=f"of shape {expected}", got=got)
        bad = "values that are not"
        check(bool(readouts.isfinite().all()), "readouts", expected="finite", got=bad)
        check(noise > 0, "noise", expected="> 0", got=noise)
        self.unknowns = unknowns
        self.drives, self.readouts = drives.detach().double(), readouts.detach().double()
        self.controls: Any = optree.tree_map(lambda c: c.detach().double(), controls)
        self.own = unknowns.ports.has_leading(controls)
        if self.own:
            self.controls = optree.tree_map(
                self._for_each, unknowns.ports.controls, self.controls, is_leaf=is_shape
            )

    def _for_each(self, shape: tuple[int, ...], control: Tensor) -> Tensor:
        """A control of which every drive has a setting."""
        if control.ndim > len(shape):
            return control
        return control.expand(len(self.drives), *control.shape)

    def _parts(self) -> Iterator[tuple[Tensor, Tensor, Any]]:
        """Drives, readouts and controls, some drives at a time."""
        controls = itertools.repeat(self.controls)
        if self.own:
            leaves, spec = optree.tree_flatten(self.controls)
            cut = zip(*(leaf.split(AT_ONCE) for leaf in leaves), strict=True)
            controls = (optree.tree_unflatten(spec, part) for part in cut)
        return zip(self.drives.split(AT_ONCE), self.readouts.split(AT_ONCE), controls)

    def at(self, z: Tensor) -> tuple[Tensor, Tensor, float]:
        """JᵀJ, Jᵀ(f − y) and the root mean square of f − y."""
        normal, slope, squares = z.new_zeros(len(z), len(z)), torch.zeros_like(z), 0.0
        for drives, readouts, controls in self._parts():
            value, jacobian = self.unknowns.linearised(z, drives, controls)
            rows, left = jacobian.flatten(0, 1), (value - readouts).flatten()
            normal.addmm_(rows.mT, rows)
            slope += rows.mT @ left
            squares += float(left.square().sum())
        return normal, slope, math.sqrt(squares / self.readouts.numel())

    def misfit(self, z: Tensor) -> float:
        """The root mean square of f − y alone; infinite outside of the model's domain."""
        system = self.unknowns.system(z)
        squares = sum(
            float((system(drives, controls) - readouts).square().sum())
            for drives, readouts, controls in self._parts()
        )
        return math.sqrt(squares / self.readouts.numel()) if math.isfinite(squares) else math.inf


def _precision(normal: Tensor, sigma: float, damping: float) -> Tensor:
    precision = normal / sigma**2
    precision.diagonal().add_(1 + damping)
    return precision


def _descend(
    problem: _Problem,
    z: Tensor,
    normal: Tensor,
    slope: Tensor,
    misfit: float,
    sigma: float,
    damping: float,
) -> tuple[Tensor, float] | None:
    """A step that lowers the cost, and the damping to go on with."""
    count, gradient = problem.readouts.numel(), slope / sigma**2 + z
    scale = float(normal.diagonal().mean()) / sigma**2 + 1

    def cost(misfit: float, z: Tensor) -> float:
        return count * (misfit / sigma) ** 2 + float(z.square().sum())

    before = cost(misfit, z)
    for _ in range(12):
        factor = torch.linalg.cholesky(_precision(normal, sigma, damping))
        step = -torch.cholesky_solve(gradient.unsqueeze(-1), factor).squeeze(-1)
        if cost(problem.misfit(z + step), z + step) < before:
            return step, damping / 10 if damping > 1e-6 * scale else 0.0
        damping = max(10 * damping, 1e-4 * scale)
    return None
