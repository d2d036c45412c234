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
    """The base current as straight lines between the points of a grid of s, for U units.

    Below 0 and beyond the grid the outermost lines go on.

    Attributes:
        offset: at s = 0 of the line of each interval, A, (U · intervals,).
        slope: of that line, S.
        rows: number of the unit, (U, 1), int64.
        per_volt: intervals a volt, ().
    """

    offset: Tensor
    slope: Tensor
    rows: Tensor
    per_volt: Tensor

    def current(self, s: Tensor) -> Tensor:
        """The base current, A, at s (U, B, ...), V."""
        place = (s * self.per_volt).clamp_(0, POINTS - 2).long()
        if len(self.rows) > 1:
            first = (POINTS - 1) * self.rows
            place += first if s.ndim == 2 else first.unsqueeze(-1)
        return torch.addcmul(self.offset.take(place), self.slope.take(place), s)


def tabulate(q: Parameters, u: Tensor) -> Table:
    """The table of every unit, for a linear response u (U, B, N), V.

    The transistor only takes energy, so v goes little beyond the linear circuit's.
    """
    resistance = q.Rs.squeeze(-1)
    stop = 1.25 * u.abs().amax() + 1
    grid = torch.linspace(0, 1, POINTS, dtype=u.dtype, device=u.device)
    s = (stop * grid).expand(len(resistance), -1)
    w = solve(s.unsqueeze(1), q, iterations=7)[0].squeeze(1)
    per_volt = (POINTS - 1) / stop
    current = (s - w) / resistance
    slope = current.diff() * per_volt
    offset = current[:, :-1] - slope * s[:, :-1]
    rows = torch.arange(len(s), device=s.device).unsqueeze(-1)
    return Table(offset.flatten(), slope.flatten(), rows, per_volt)
