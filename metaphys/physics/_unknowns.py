"""What of a unit is not known: the interface of everything that can be inferred."""

from __future__ import annotations

import abc
from typing import Any

from torch import Tensor

from metaphys.physics._ports import Ports


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
