"""The mismatch of units that drift, followed from a few readouts at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import optree
import torch
from torch import Tensor

from metaphys._errors import check
from metaphys.physics._system import System
from metaphys.physics.twins._fields import Fields, Prior
from metaphys.physics.twins._filter_update import Belief, Update


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
    Kalman filter's update is a Gauss-Newton step. Y. Bar-Shalom, X. R. Li, T. Kirubarajan,
    Estimation with Applications to Tracking and Navigation (2001), section 5.4: what is consistent.

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
        surprise: (*units), how far the last update moved the mean, squared, over what was expected,

            .. math:: \frac{(\mu - \mu_-)^T P_-^{-1} (\mu - \mu_-)}
                            {p - \operatorname{tr}(P P_-^{-1})}

            with mean and covariance before (−) and after: 1 on average where walk and noise are as
            they are told to be, :math:`\chi^2_\gamma / \gamma` for γ mismatches that the readouts
            tell. Far above 1 the unit has jumped, walks more than was said, or the filter has lost
            it: let more time pass (:meth:`advance`) and update again. NaN before the first update.

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
        self.surprise = eye.new_full(units, torch.nan)

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
        known = drives.detach().double(), readouts.detach().double()
        found = Update(self._fields, self.belief, *known, held, self.noise)
        with torch.no_grad():
            self.belief, self.surprise = found.run(steps), found.surprise
