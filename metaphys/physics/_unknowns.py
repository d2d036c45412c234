"""What of a unit is not known: the interface of everything that can be inferred."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from metaphys.physics._ports import Ports

if TYPE_CHECKING:
    from typing_extensions import Self


class Unknowns(abc.ABC):
    """The unknown mismatch of a unit as standard scores z, each N(0, 1) over the population.

    It is the prior and the coordinates in one: how z makes a system, and how the readouts of that
    system depend on z.

    Attributes:
        size: p, how many scores there are.
        ports: sizes of drive, controls and readout.
    """

    size: int
    ports: Ports

    @abc.abstractmethod
    def system(self, z: Tensor) -> Any:
        """The system at scores z (p,), or the fleet at scores (U, p); in the dtype of z."""

    @abc.abstractmethod
    def linearised(self, z: Tensor, drives: Tensor, controls: Any) -> tuple[Tensor, Tensor]:
        """Readouts (B, M) of drives (B, N) at scores z (p,), and their derivatives (B, M, p)."""

    @abc.abstractmethod
    def refined(self, scores: Sequence[Tensor], variances: Sequence[Tensor]) -> Self:
        """The prior that explains some units better: one step of expectation maximisation.

        Source: Dempster, Laird, Rubin, J. R. Stat. Soc. B 39, 1 (1977); for a prior, "empirical
        Bayes".

        Args:
            scores: means (p,) of the scores of each unit under the present prior.
            variances: their posterior variances (p,).
        """

    @abc.abstractmethod
    def moments(self) -> Tensor:
        """The numbers of the prior, float64: what :meth:`refined` changes, and a run stores."""

    @abc.abstractmethod
    def with_moments(self, moments: Tensor) -> Self:
        """The same unknowns under another prior; the inverse of :meth:`moments`."""

    @abc.abstractmethod
    def translated(self, z: Tensor, other: Self) -> Tensor:
        """The scores under another prior of the unit that has scores z (p,) under this one."""
