"""The reference integrator: classical Runge-Kutta steps of the differential equation itself.

It shares nothing with the exponential step but the equations of the junctions. With steps of
0.1 µs ω0 dt = 0.03; the base's resistor keeps the equation from being stiff.
"""

from __future__ import annotations

import torch
from torch import Tensor

from metaphys.physics.circuit._junctions import collector_side, newton
from metaphys.physics.circuit._parameters import Parameters
from metaphys.physics.circuit._table import tabulate

LIFTS = 2
"""Newton steps with a graph, after some without: derivatives are right to order 3."""


class Base:
    """The transistor as a load without memory, for the voltage s (U, B, N) at its resistor."""

    def __init__(self, q: Parameters) -> None:
        self._q, self._frozen = q, Parameters(*(each.detach() for each in q))
        self._table = tabulate(self._frozen)

    def voltages(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """v_be and v_bc, V."""
        start, frozen = s.detach(), self._frozen
        w = start - frozen.Rs * self._table.current(start)
        p = collector_side(w, frozen)
        for _ in range(3):
            w, p = newton(start, w, p, frozen)
        w, p = w.detach(), p.detach()
        for _ in range(LIFTS):
            w, p = newton(s, w, p, self._q)
        return w, p

    def current(self, s: Tensor) -> Tensor:
        """The base current, A."""
        return (s - self.voltages(s)[0]) / self._q.Rs


def rk4(source: Tensor, part: dict[str, Tensor], base: Base | None, dt: float, hold: str) -> Tensor:
    """The voltage v (U, B, N) at the end of every step.

    Args:
        source: u (U, B, N) at the end of every step, V.
        part: component values, each (U,).
        base: the transistor; ``None`` for the linear circuit.
        dt: length of a step, s.
        hold: what the source does in a step: ``"linear"`` or ``"step"``.
    """
    R, L, C = ((part[name])[:, None] for name in ("R1", "L", "C"))
    R = R + part["RL"][:, None]

    def slope(i: Tensor, v: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        drawn = 0.0 if base is None else base.current(v.unsqueeze(-1)).squeeze(-1)
        return (u - R * i - v) * (dt / L), (i - drawn) * (dt / C)

    i = v = before = torch.zeros_like(source[..., 0])
    found = []
    for after in source.unbind(-1):
        start = before if hold == "linear" else after
        middle = (start + after) / 2
        i1, v1 = slope(i, v, start)
        i2, v2 = slope(i + i1 / 2, v + v1 / 2, middle)
        i3, v3 = slope(i + i2 / 2, v + v2 / 2, middle)
        i4, v4 = slope(i + i3, v + v3, after)
        i, v = i + (i1 + 2 * (i2 + i3) + i4) / 6, v + (v1 + 2 * (v2 + v3) + v4) / 6
        found.append(v)
        before = after
    return torch.stack(found, -1)
