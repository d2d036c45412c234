"""The mismatch of units that drift, followed from a few readouts at a time."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, final

import optree
import torch
from torch import Tensor
from torch.func import jvp, vmap

from metaphys._errors import check
from metaphys.physics._system import System
from metaphys.physics.twins._fields import Fields, Prior
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
class DriftFilter:
    r"""An iterated extended Kalman filter of the mismatch of one unit, or of many at once.

    A unit's mismatch m walks at random; with every readout there is noise:

    .. math:: m_t = m_{t-1} + \text{walk} \cdot \xi_t, \qquad
              y_t = f_{m_t}(x_t, \theta) + \sigma \epsilon_t.

    :meth:`advance` lets time pass: what was known yesterday, widened by the walk, is the prior of
    today. :meth:`update` takes readouts and goes to the maximum of the posterior by Gauss-Newton
    steps, halved where one would not descend; the curvature is the new covariance. A few readouts
    are enough where those before have told the rest; what they cannot tell apart is carried on as
    a correlation. It works for every system that has ``mismatch`` and ``with_mismatch``.

    Source: B. M. Bell, F. W. Cathey, IEEE Trans. Autom. Control 38, 294 (1993): the iterated
    Kalman filter's update is a Gauss-Newton step.

    Args:
        system: the nominal system, of one unit.
        prior: of the mismatch at first, as for :func:`calibrate`.
        walk: by field, the standard deviation of its walk in an interval, in the field's unit, for
            all of its elements or each; fields left out stand still.
        noise: standard deviation σ of the readouts' noise; ``None`` to estimate it, for each unit
            at every update, from what the twin does not explain.
        units: ``()`` for one unit, ``(U,)`` for U that are followed at once.

    Attributes:
        belief: what is thought now; it may be set.

    Raises:
        TypeError, ValueError: as for :func:`calibrate`; a walk of a field that the prior takes as
            known, a negative one, or ``noise`` <= 0.

    Example:
        >>> from metaphys.physics import Circuit, CircuitMismatch
        >>> nominal, drive = Circuit(samples=50), torch.linspace(-2, 2, 50).roll(20).unsqueeze(0)
        >>> prior = {"temperature": torch.tensor(20.0), "C": torch.tensor(0.05)}
        >>> follow = DriftFilter(nominal, prior=prior, walk={"temperature": 2.0}, noise=1e-4)
        >>> for day in range(3):
        ...     unit = nominal.with_mismatch(CircuitMismatch(temperature=torch.tensor(3.0 * day)))
        ...     follow.advance()
        ...     follow.update(drive, unit(drive, {}))
        >>> round(float(follow.twin.mismatch.temperature), 1)
        6.0
    """

    def __init__(
        self,
        system: System,
        *,
        prior: Prior,
        walk: Mapping[str, float | Tensor],
        noise: float | None = None,
        units: tuple[int, ...] = (),
    ) -> None:
        self._fields, self._ports, self.units = Fields(system, prior), system.ports, units
        check(noise is None or noise > 0, "noise", expected="> 0, or None", got=noise)
        self.noise = noise
        self._step = self._fields.scores_of(walk)
        eye = torch.eye(self._fields.size, dtype=torch.float64)
        self.belief = Belief(eye.new_zeros(*units, len(eye)), eye.expand(*units, *eye.shape))

    @property
    def twin(self) -> Any:
        """The system, or the fleet, at the most probable mismatch, in the default dtype."""
        return self._fields.system(self.belief.mean, torch.get_default_dtype())

    @property
    def deviation(self) -> dict[str, Tensor]:
        """By field, how well it is known: standard deviations; 0 where the prior says so."""
        variance = self.belief.covariance.diagonal(dim1=-2, dim2=-1)
        return self._fields.deviations(variance.sqrt())

    def advance(self, intervals: float = 1.0) -> None:
        """Let time pass: the covariance grows by that of the walk."""
        check(intervals >= 0, "intervals", expected=">= 0", got=intervals)
        mean, covariance = self.belief
        self.belief = Belief(mean, covariance + intervals * self._step.square().diag())

    def update(
        self, drives: Tensor, readouts: Tensor, controls: Any = None, *, steps: int = 5
    ) -> None:
        """Learn from readouts; where they are refused, nothing changes.

        Args:
            drives: (*units, B, ``ports.drive``), what the units were driven with.
            readouts: (*units, B, ``ports.readout``), what they answered.
            controls: those of the measurement; by default those of a system that has none.
            steps: Gauss-Newton steps.

        Raises:
            TypeError, ValueError: shapes do not fit, readouts are not finite, or ``steps`` < 1.
        """
        controls = {} if controls is None else controls
        self._ports.check(drives, controls, self.units)
        check(steps >= 1, "steps", expected=">= 1", got=steps)
        expected, got = (*drives.shape[:-1], self._ports.readout), tuple(readouts.shape)
        check(got == expected, "readouts", expected=f"of shape {expected}", got=got)
        bad = "values that are not"
        check(bool(readouts.isfinite().all()), "readouts", expected="finite", got=bad)
        held: Any = optree.tree_map(lambda control: control.detach().double(), controls)
        found = _Update(self, drives.detach().double(), readouts.detach().double(), held)
        with torch.no_grad():
            self.belief = found.run(steps)


class _Update:
    """One update: from a belief and readouts to the next belief."""

    def __init__(self, follow: DriftFilter, drives: Tensor, readouts: Tensor, held: Any) -> None:
        self.fields, self.units = follow._fields, len(follow.units)
        self.drives, self.held, self.target = drives, held, self._flat(readouts)
        self.mean, covariance = follow.belief
        self.precision = torch.cholesky_inverse(torch.linalg.cholesky(covariance))
        rms = self.target.square().mean(-1).sqrt()
        self.least = FLOOR * rms + torch.finfo(rms.dtype).tiny
        self.noise = None if follow.noise is None else torch.full_like(rms, follow.noise)

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
        return Belief(z, covariance)

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


def learn_walk(system: System, prior: Prior, followed: Sequence[Belief]) -> dict[str, Tensor]:
    r"""The walk that explains what a filter believed of some units, interval after interval.

    .. math:: \text{walk}^2 = \langle (\mu_t - \mu_{t-1})^2 + P_t - P_{t-1} \rangle

    over intervals and units, with the means and variances after each update: a filter's mean moves
    by the variance that it was given minus that which is left. Where the filter ran with another
    walk than is found, run it with that and ask again.

    Source: R. K. Mehra, IEEE Trans. Autom. Control 15, 175 (1970): noise from innovations.

    Args:
        system: the nominal system.
        prior: that of the filter.
        followed: :attr:`DriftFilter.belief` after every update.

    Returns:
        By field, standard deviations of the walk, as :class:`DriftFilter` takes them.

    Raises:
        ValueError: fewer than two beliefs.

    Example:
        >>> from metaphys.physics import Circuit
        >>> prior, known = {"temperature": torch.tensor(20.0)}, torch.zeros(1, 1)
        >>> found = learn_walk(
        ...     Circuit(), prior, [Belief(torch.tensor([z]), known) for z in (0.0, 0.1, 0.2, 0.1)]
        ... )
        >>> round(float(found["temperature"]), 6)
        2.0
    """
    check(len(followed) >= 2, "followed", expected="two beliefs or more", got=len(followed))
    size = followed[0].mean.shape[-1]
    changes = [
        (after.mean - before.mean).square()
        + (after.covariance - before.covariance).diagonal(dim1=-2, dim2=-1)
        for before, after in itertools.pairwise(followed)
    ]
    steps = torch.stack(changes).reshape(-1, size).mean(0).clamp_min(0).sqrt()
    return Fields(system, prior).deviations(steps)
