"""One update of a filter: from a belief and readouts to the next belief."""

from __future__ import annotations

from typing import Any, NamedTuple, final

import torch
from torch import Tensor
from torch.func import jvp, vmap

from metaphys.physics.twins._fields import Fields
from metaphys.physics.twins._levenberg import FLOOR


class Belief(NamedTuple):
    """What is thought of units: Gaussians over their scores, in deviations of the prior.

    Attributes:
        mean: (*units, p), float64.
        covariance: (*units, p, p).
    """

    mean: Tensor
    covariance: Tensor


@final
class Update:
    """Gauss-Newton steps to the maximum of the posterior.

    Args:
        fields: the unknowns.
        belief: before, float64.
        drives: (*units, B, N), what the units were driven with, float64.
        readouts: (*units, B, M), what they answered.
        controls: those of the measurement.
        noise: standard deviation of the readouts' noise; ``None`` to estimate it.

    Attributes:
        surprise: (*units), after :meth:`run`, as :attr:`DriftFilter.surprise`.
    """

    surprise: Tensor

    def __init__(
        self,
        fields: Fields,
        belief: Belief,
        drives: Tensor,
        readouts: Tensor,
        controls: Any,
        noise: float | None,
    ) -> None:
        self.mean, covariance = belief
        self.fields, self.units = fields, self.mean.ndim - 1
        self.drives, self.held, self.target = drives, controls, self._flat(readouts)
        self.precision = torch.cholesky_inverse(torch.linalg.cholesky(covariance))
        rms = self.target.square().mean(-1).sqrt()
        self.least = FLOOR * rms + torch.finfo(rms.dtype).tiny
        self.noise = None if noise is None else torch.full_like(rms, noise)

    def _flat(self, readouts: Tensor) -> Tensor:
        return readouts.flatten(self.units)

    def _model(self, z: Tensor) -> Tensor:
        return self._flat(self.fields.system(z)(self.drives, self.held))

    def _linearised(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Readouts (*units, n) and their derivatives (*units, n, p)."""
        basis = torch.eye(z.shape[-1], dtype=z.dtype, device=z.device)

        def along(direction: Tensor) -> Tensor:
            return jvp(self._model, (z,), (direction.expand_as(z),))[1]

        return self._model(z), vmap(along)(basis).movedim(0, -1)

    def _cost(self, z: Tensor, residual: Tensor, sigma: Tensor) -> Tensor:
        away = (z - self.mean).unsqueeze(-1)
        prior = (away.mT @ self.precision @ away).squeeze(-1).squeeze(-1)
        cost = (residual / sigma.unsqueeze(-1)).square().sum(-1) + prior
        return torch.where(cost.isfinite(), cost, torch.inf)  # outside of the model's domain

    def run(self, steps: int) -> Belief:
        """The belief after so many steps."""
        z, covariance = self.mean, None
        for _ in range(steps):
            readout, jacobian = self._linearised(z)
            residual = self.target - readout
            # Before the noise is known, all that is not explained yet counts as noise.
            rms = residual.square().mean(-1).sqrt()
            sigma = torch.maximum(rms, self.least) if self.noise is None else self.noise
            normal = self._normal(jacobian, sigma)
            slope = jacobian.mT @ (residual / sigma.square().unsqueeze(-1)).unsqueeze(-1)
            slope = slope - self.precision @ (z - self.mean).unsqueeze(-1)
            factor = torch.linalg.cholesky(normal)
            z = self._descended(z, torch.cholesky_solve(slope, factor).squeeze(-1), residual, sigma)
            covariance = torch.cholesky_inverse(factor)
        assert covariance is not None
        if self.noise is None:
            # By what is left in the end, after the parameters that were fitted (MacKay's γ).
            covariance = self._known(z, jacobian, covariance, sigma)
        self.surprise = self._moved(z, covariance)
        return Belief(z, covariance)

    def _moved(self, z: Tensor, covariance: Tensor) -> Tensor:
        """(*units) how far the mean moved, squared, over what the prior expected of it."""
        away = (z - self.mean).unsqueeze(-1)
        squared = (away.mT @ self.precision @ away).squeeze(-1).squeeze(-1)
        told = z.shape[-1] - (covariance @ self.precision).diagonal(dim1=-2, dim2=-1).sum(-1)
        return squared / told.clamp_min(torch.finfo(z.dtype).eps)

    def _normal(self, jacobian: Tensor, sigma: Tensor) -> Tensor:
        return jacobian.mT @ jacobian / sigma.square()[..., None, None] + self.precision

    def _descended(self, z: Tensor, step: Tensor, residual: Tensor, sigma: Tensor) -> Tensor:
        """Z + step, halved for each unit until it descends; z where it never does."""
        before, found = self._cost(z, residual, sigma), z
        left = torch.ones_like(before, dtype=torch.bool)
        for halvings in range(8):
            there = z + step / 2**halvings
            lower = self._cost(there, self.target - self._model(there), sigma) < before
            found = torch.where((left & lower).unsqueeze(-1), there, found)
            left = left & ~lower
            if not left.any():
                break
        return found

    def _known(self, z: Tensor, jacobian: Tensor, covariance: Tensor, sigma: Tensor) -> Tensor:
        residual = self.target - self._model(z)
        kept = (covariance @ self.precision).diagonal(dim1=-2, dim2=-1).sum(-1)
        free = (residual.shape[-1] - (z.shape[-1] - kept)).clamp_min(1.0)
        sigma = torch.maximum((residual.square().sum(-1) / free).sqrt(), self.least)
        return torch.cholesky_inverse(torch.linalg.cholesky(self._normal(jacobian, sigma)))
