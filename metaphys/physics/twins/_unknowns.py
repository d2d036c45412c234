"""What is not known of a unit whose mismatch has few fields: all, under a Gaussian prior."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor

from metaphys.physics._ports import Ports
from metaphys.physics._unknowns import Unknowns
from metaphys.physics.twins._fields import Fields, Prior
from metaphys.physics.twins._levenberg import jacobian

if TYPE_CHECKING:
    from metaphys.physics._system import System


@final
class MismatchUnknowns(Unknowns):
    r"""Every number of a mismatch, m = mean + deviation · z, independent of each other.

    For systems of which a unit has tens of unknowns: :class:`~metaphys.physics.Plate`,
    :class:`~metaphys.physics.Circuit`, :class:`~metaphys.physics.SHG` and
    :class:`~metaphys.physics.ThinSHG`. Whatever the spread's own distribution is (uniform within a
    tolerance, log-normal, exponential), the prior has its first two moments alone. Derivatives are
    p sweeps forward.

    Args:
        system: the nominal system, of one unit.
        prior: a :class:`~metaphys.physics.Spread`, or standard deviations by field around the
            system's own mismatch.

    Raises:
        TypeError, ValueError: the system has no mismatch or is a fleet, or the prior does not fit.

    Example:
        >>> from metaphys.physics import Circuit, CircuitSpread
        >>> unknowns = MismatchUnknowns(Circuit(samples=50), CircuitSpread())
        >>> unknowns.size, unknowns.names[:3]
        (9, ['R1', 'L', 'RL'])
        >>> unknowns.system(torch.zeros(4, 9)).units
        (4,)
    """

    def __init__(self, system: System, prior: Prior) -> None:
        self._system: Any = system
        self._fields = Fields(system, prior)
        self.size = self._fields.size
        self.ports: Ports = system.ports

    @property
    def names(self) -> list[str]:
        """What each score is, such as ``"damping[3]"``."""
        return self._fields.names

    def widened(self, **deviations: float | Tensor) -> MismatchUnknowns:
        """The same and further fields, of which a spread says nothing, around the system's own.

        It makes a model richer than the population is described: what its units have in common that
        nobody has told, expectation maximisation finds in their readouts (``refined``).

        Args:
            deviations: standard deviations by field, as in a prior. The mean is the field's own
                value, or 0 where the system has none.

        Raises:
            ValueError: a field that the mismatch has not, or a deviation that is negative.

        Example:
            >>> from metaphys.physics import SHGSpread, ThinSHG
            >>> crystal = MismatchUnknowns(ThinSHG(), SHGSpread(coupling=0.04, dk0=2.0))
            >>> crystal.widened(depletion=torch.tensor([0.5, 0.1])).names
            ['coupling', 'dk0', 'depletion[0]', 'depletion[1]']
        """
        given = {name: torch.as_tensor(value) for name, value in deviations.items()}
        own = {name: getattr(self._system.mismatch, name, None) for name in given}
        mean = {name: value for name, value in own.items() if value is not None}
        fields = self._fields
        return self._with({**mean, **fields.mean}, {**fields.deviation, **given})

    def system(self, z: Tensor) -> Any:
        return self._fields.system(z)

    def linearised(self, z: Tensor, drives: Tensor, controls: Any) -> tuple[Tensor, Tensor]:
        def model(z: Tensor) -> Tensor:
            return self.system(z)(drives, controls).flatten()

        value = model(z)
        found = jacobian(model, z, len(value))
        shape = len(drives), self.ports.readout
        return value.reshape(shape), found.reshape(*shape, len(z))

    def refined(self, scores: Sequence[Tensor], variances: Sequence[Tensor]) -> MismatchUnknowns:
        z, variance = torch.stack(list(scores)), torch.stack(list(variances))
        mean = z.mean(0)
        spread = ((z - mean).square() + variance).mean(0).sqrt()
        fields = self._fields
        return self._with(fields.values(mean), fields.deviations(spread))

    def moments(self) -> Tensor:
        both = self._fields.mean, self._fields.deviation
        return torch.stack([torch.cat([v.flatten() for v in each.values()]) for each in both])

    def with_moments(self, moments: Tensor) -> MismatchUnknowns:
        mean = self._fields.mean
        parts = [row.split([v.numel() for v in mean.values()]) for row in moments]
        both = [{n: p.reshape(v.shape) for (n, v), p in zip(mean.items(), row)} for row in parts]
        return self._with(*both)

    def _with(
        self, mean: Mapping[str, Tensor], deviation: Mapping[str, Tensor]
    ) -> MismatchUnknowns:
        kind = type(self._system.mismatch)
        return MismatchUnknowns(self._system.with_mismatch(kind(**mean)), deviation)

    def translated(self, z: Tensor, other: Unknowns) -> Tensor:
        assert isinstance(other, MismatchUnknowns)
        return other.scores(self._fields.values(z))

    def scores(self, mismatch: Mapping[str, Tensor]) -> Tensor:
        """The scores (size,) of a mismatch by field: the inverse of ``system``."""
        mean, deviation = self._fields.mean, self._fields.deviation
        # Boolean masks flatten: fields of any shape follow each other.
        parts = [((mismatch[name] - mean[name]) / d)[d > 0] for name, d in deviation.items()]
        return torch.cat([part.flatten() for part in parts])
