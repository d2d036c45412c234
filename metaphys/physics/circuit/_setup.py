"""What a circuit's response needs besides its drive: made for one unit or for a fleet."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from metaphys.physics.circuit._components import Components
from metaphys.physics.circuit._linear import Step, exact_step
from metaphys.physics.circuit._mismatch import CircuitMismatch
from metaphys.physics.circuit._parameters import pack, unpack, values
from metaphys.physics.circuit._table import Table, tabulate


class Setup(NamedTuple):
    """One step of every unit.

    Attributes:
        step: the linear circuit.
        packed: all parameters (U, K).
        table: the base current; ``None`` where it has to be made at every call.
    """

    step: Step
    packed: Tensor
    table: Table | None

    def to(self, like: Tensor) -> Setup:
        """The same in the dtype of ``like`` and on its device."""
        step = Step(*(each.to(like) for each in self.step))
        table = None if self.table is None else self.table.to(like)
        return Setup(step, self.packed.to(like), table)


def setup(
    parts: Components, mismatch: CircuitMismatch, dt: float, hold: str, like: Tensor
) -> Setup:
    """The step of length ``dt`` of units with a mismatch, differentiable in it."""
    part = values(parts, mismatch, like.dtype, like.device)
    step = exact_step(part, dt, hold)
    return Setup(step, pack(parts, part, step), None)


def tabulated(
    parts: Components, mismatch: CircuitMismatch, dt: float, hold: str, on: torch.device
) -> Setup:
    """The step of units whose mismatch is constant, and their tables, in float64."""
    like = torch.zeros((), dtype=torch.float64, device=on)
    found = setup(parts, mismatch, dt, hold, like)
    table = None if parts.transistor is None else tabulate(unpack(found.packed))
    return found._replace(table=table)


def nominal(parts: Components, dt: float, hold: str) -> Setup:
    """The step of the nominal circuit and its table, in float64 on the CPU."""
    with torch.inference_mode(False), torch.no_grad():
        return tabulated(parts, CircuitMismatch(), dt, hold, torch.device("cpu"))
