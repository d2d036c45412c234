"""The junctions on a grid: where every solution starts from."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from metaphys.ops.recurrence import interpolate
from metaphys.physics.circuit._junctions import solve
from metaphys.physics.circuit._parameters import Parameters

POINTS = 4096
"""Of the grid. The sharpest knee, where the collector saturates, is 0.1 mV wide: there the line is
off by up to 1e-7 A, elsewhere by 1e-9 A."""


class Table(NamedTuple):
    """The base current as straight lines between points s = x / (1 - x), x = 0, 1/POINTS, …, V.

    The points are dense where the knees are and reach from 0 V to POINTS volts; the first and the
    last line go on beyond.

    Attributes:
        offset: at s = 0 of the line of each interval, A, (U, POINTS - 1).
        slope: of that line, S.
    """

    offset: Tensor
    slope: Tensor

    def to(self, like: Tensor) -> Table:
        """The same in the dtype of ``like`` and on its device."""
        return Table(*(each.to(like) for each in self))

    def current(self, s: Tensor) -> Tensor:
        """The base current, A, at s (U, B, ...), V."""
        return interpolate(s, *self)


def tabulate(q: Parameters) -> Table:
    """The table of every unit."""
    resistance = q.Rs.squeeze(-1)
    # In float64, so that neighbours far out do not fall together.
    x = torch.arange(POINTS, dtype=torch.float64, device=resistance.device) / POINTS
    s = (x / (1 - x)).to(resistance.dtype).expand(len(resistance), -1)
    w = solve(s.unsqueeze(1), q, iterations=7)[0].squeeze(1)
    current = (s - w) / resistance
    slope = current.diff() / s.diff()
    return Table(current[:, :-1] - slope * s[:, :-1], slope)
