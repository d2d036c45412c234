"""Gauss-Newton steps through the normal equations, accumulated over the drives."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import optree
import torch
from torch import Tensor

from metaphys._errors import check
from metaphys.physics._ports import is_shape
from metaphys.physics._unknowns import Unknowns

AT_ONCE = 64
"""Drives whose derivatives are held at a time."""

COMPARED = 4
"""Drives that draws of the prior are compared on."""

FLEET = 100
"""Draws that are compared at a time."""

WITHIN = 3.0
"""Draws lie within this many deviations: beyond, a Gaussian may leave a mismatch's domain."""


class Problem:
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

    @torch.no_grad()
    def nearest(self, z: Tensor, draws: int) -> Tensor:
        """Of z (p,) and some draws of the prior the scores that explain the first drives best."""
        generator = torch.Generator().manual_seed(0)
        drawn = torch.randn(draws, len(z), generator=generator, dtype=z.dtype)
        scores = torch.cat([z.unsqueeze(0), drawn.clamp(-WITHIN, WITHIN).to(z)])
        drives, readouts, controls = next(iter(self._parts()))
        drives, readouts = drives[:COMPARED], readouts[:COMPARED]
        if self.own:
            controls = optree.tree_map(lambda control: control[:COMPARED], controls)
        squares = []
        for some in scores.split(FLEET):
            each = drives.expand(len(some), *drives.shape)
            fleet = optree.tree_map(lambda c: c.expand(len(some), *c.shape), controls)  # noqa: B023
            left = self.unknowns.system(some)(each, fleet) - readouts
            squares.append(left.square().sum((1, 2)).nan_to_num(torch.inf))
        return scores[torch.cat(squares).argmin()]

    def misfit(self, z: Tensor) -> float:
        """The root mean square of f − y alone; infinite outside of the model's domain."""
        system = self.unknowns.system(z)
        squares = sum(
            float((system(drives, controls) - readouts).square().sum())
            for drives, readouts, controls in self._parts()
        )
        return math.sqrt(squares / self.readouts.numel()) if math.isfinite(squares) else math.inf


def precision(normal: Tensor, sigma: float, damping: float) -> Tensor:
    """That of the scores: JᵀJ/σ² + 1 + λ."""
    found = normal / sigma**2
    found.diagonal().add_(1 + damping)
    return found


def descend(
    problem: Problem,
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
        factor = torch.linalg.cholesky(precision(normal, sigma, damping))
        step = -torch.cholesky_solve(gradient.unsqueeze(-1), factor).squeeze(-1)
        if cost(problem.misfit(z + step), z + step) < before:
            return step, damping / 10 if damping > 1e-6 * scale else 0.0
        damping = max(10 * damping, 1e-4 * scale)
    return None
