"""The junctions on a grid: where every solution starts from."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

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
        offset: at s = 0 of the line of each interval, A, (U · (POINTS - 1),).
        slope: of that line, S.
        last: POINTS - 2, (), so that no step makes a tensor of a number.
        count: POINTS, ().
        rows: number of the unit, (U, 1), int64.
    """

    offset: Tensor
    slope: Tensor
    last: Tensor
    count: Tensor
    rows: Tensor

    def to(self, like: Tensor) -> Table:
        """The same in the dtype of ``like`` and on its device."""
        offset, slope, last, count, rows = self
        values = (each.to(like) for each in (offset, slope, last, count))
        return Table(*values, rows=rows.to(like.device))

    def current(self, s: Tensor) -> Tensor:
        """The base current, A, at s (U, B, ...), V."""
        up = s.clamp(min=0)
        place = torch.minimum(up / (up + 1) * self.count, self.last).long()
        if len(self.rows) > 1:
            first = (POINTS - 1) * self.rows
            place += first if s.ndim == 2 else first.unsqueeze(-1)
        return torch.addcmul(self.offset.take(place), self.slope.take(place), s)


def tabulate(q: Parameters) -> Table:
    """The table of every unit."""
    resistance = q.Rs.squeeze(-1)
    # In float64, so that neighbours far out do not fall together.
    x = torch.arange(POINTS, dtype=torch.float64, device=resistance.device) / POINTS
    s = (x / (1 - x)).to(resistance.dtype).expand(len(resistance), -1)
    w = solve(s.unsqueeze(1), q, iterations=7)[0].squeeze(1)
    current = (s - w) / resistance
    slope = current.diff() / s.diff()
    offset = current[:, :-1] - slope * s[:, :-1]
    rows = torch.arange(len(s), device=s.device).unsqueeze(-1)
    last, count = (torch.full((), n, dtype=s.dtype, device=s.device) for n in (POINTS - 2, POINTS))
    return Table(offset.flatten(), slope.flatten(), last, count, rows)
