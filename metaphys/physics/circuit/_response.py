r"""The circuit's response as one implicit function of its drive and its parameters.

With u the response of the linear circuit and y the base current, the exponential step reads

.. math:: s = u - L y, \qquad F_1(w, p; s) = F_2(w, p; s) = 0, \qquad y = (s - w) / R_s,

for whole waveforms: s is the voltage before the present base current acts, L is strictly causal.
It is solved by marching with y tabulated as a function of s, and by Newton's method for the whole
waveform after that. Derivatives follow from the implicit function theorem, to every order, so the
graph holds three numbers a step however the solution was found:

.. math:: \delta s + L\,(y'(s)\,\delta s) = \delta u, \qquad y' = \text{conductance of the base}.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from metaphys.ops import recurrence
from metaphys.physics.circuit._closed import closed
from metaphys.physics.circuit._junctions import junctions
from metaphys.physics.circuit._parameters import unpack
from metaphys.physics.circuit._recurrence import (
    batched,
    future,
    past,
    scan,
    scan_back,
    state_space,
    wants_plain,
)
from metaphys.physics.circuit._table import Table, tabulate

LIFTS = 3
"""Newton steps in plain arithmetic: each doubles the orders that are right, plus one, so 7."""

Solution = tuple[Tensor, Tensor, Tensor]


def respond(u: Tensor, packed: Tensor, table: Table | None = None) -> Solution:
    """s, v_be and v_bc (U, B, N) for the linear response u (U, B, N), all in V.

    ``table`` is that of ``packed``, where it is known already.

    Differentiable to any order in reverse, and to order 7 where forward mode takes part.
    """
    if not wants_plain(u, packed):
        return _Respond.apply(table, u, packed)  # type: ignore[no-any-return]
    solution: Solution = _start(table, u, packed)
    for _ in range(LIFTS):
        solution = _newton(u, packed, *solution)
    return solution


def _start(table: Table | None, u: Tensor, packed: Tensor) -> Solution:
    """The solution as constants of every transform."""
    with torch.no_grad():
        return _Respond.apply(table, u.detach(), packed.detach())  # type: ignore[no-any-return]


def _newton(u: Tensor, packed: Tensor, s: Tensor, w: Tensor, p: Tensor) -> Solution:
    """One step of Newton's method for the whole waveform."""
    q = unpack(packed)
    at = junctions(s, w, p, q)
    c = q.Rs * at.gp
    error = u - past((s - w) / q.Rs, q) - s
    d = at.slope()
    base = scan(d, d * error + (at.d * at.F1 - c * at.F2) / (at.det * q.Rs), packed)
    ds = error - past(base, q)
    F1 = at.F1 - ds
    dw = (c * at.F2 - at.d * F1) / at.det
    dp = (at.b * F1 - (1 + q.Rs * at.gw) * at.F2) / at.det
    return s + ds, w + dw, p + dp


def _march(u: Tensor, packed: Tensor, table: Table) -> Solution:
    """The solution, with the base current that acts on later steps read from a table.

    To about 1e-5 V; in float32 that is not far from rounding, and more steps change nothing else.
    """
    q = unpack(packed)
    s = recurrence.loaded(u, *state_space(q), *table)
    return s, *closed(s, s - q.Rs * table.current(s), packed)


class _Respond(torch.autograd.Function):
    @staticmethod
    def forward(table: Table | None, u: Tensor, packed: Tensor) -> Solution:
        if table is None:
            table = tabulate(unpack(packed))
        s, w, p = _march(u, packed, table)
        for _ in range(3 if u.dtype == torch.float64 else 0):
            s, w, p = _newton(u, packed, s, w, p)
        return s, w, p

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Solution) -> None:
        ctx.save_for_backward(inputs[2], *output)

    @staticmethod
    def backward(
        ctx: Any, to_s: Tensor, to_w: Tensor, to_p: Tensor
    ) -> tuple[None, Tensor, Tensor | None]:
        packed, s, w, p = ctx.saved_tensors
        q = unpack(packed)
        at = junctions(s, w, p, q)
        # The transposed equations of the residuals s - u + L y, F1 and F2; λ belongs to the first.
        to_F1 = (at.d * to_w - at.b * to_p) / at.det
        adjoint = scan_back(at.slope(), to_s + to_F1, packed)
        if not ctx.needs_input_grad[2]:
            return None, adjoint, None
        to_y = future(adjoint, q)
        to_w = to_w + to_y / q.Rs
        a, c = 1 + q.Rs * at.gw, q.Rs * at.gp
        multipliers = (
            -adjoint,
            -(at.d * to_w - at.b * to_p) / at.det,
            -(a * to_p - c * to_w) / at.det,
        )

        def residuals(each: Tensor) -> Solution:
            r = unpack(each)
            found = junctions(s, w, p, r)
            return past((s - w) / r.Rs, r), found.F1, found.F2

        pull = torch.func.vjp(residuals, packed)[1]
        return None, adjoint, pull(multipliers)[0]

    @staticmethod
    def vmap(  # type: ignore[override]
        info: Any, in_dims: tuple[Any, ...], table: Table | None, u: Tensor, packed: Tensor
    ) -> tuple[Solution, tuple[int, ...]]:
        apply = partial(_Respond.apply, table if in_dims[2] is None else None)
        return batched(apply, info.batch_size, in_dims[1:], u, packed)
