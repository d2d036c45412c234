"""The plate as independent oscillators, one a mode."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from metaphys.physics._ports import align
from metaphys.physics.plate._design import PlateDesign
from metaphys.physics.plate._mismatch import PlateMismatch
from metaphys.physics.plate._shapes import Shapes


class Modes(NamedTuple):
    """What makes q'' + 2 z w q' + w² q + a q³ = b F and y = c · (q'' − b F), each (..., K).

    Attributes:
        frequency: w, in rad/s.
        damping: z, dimensionless.
        cubic: a, in 1/(m² s²).
        drive: b = phi(drive) / m, in 1/kg.
        pickup: c = phi(microphone) times the sensitivity, in V s²/m.
        mass: m, in kg.
    """

    frequency: Tensor
    damping: Tensor
    cubic: Tensor
    drive: Tensor
    pickup: Tensor
    mass: Tensor

    def to(self, like: Tensor) -> Modes:
        """In the dtype and on the device of ``like``."""
        return Modes(*(value.to(like) for value in self))


def modes(design: PlateDesign, shapes: Shapes, mismatch: PlateMismatch, on: torch.device) -> Modes:
    """The modes of a unit, or of each unit of a fleet, in float64."""
    count = len(mismatch.units(design.modes))

    def relative(error: Tensor | None) -> Tensor:
        if error is None:
            return torch.ones(1, dtype=torch.float64, device=on)
        return 1 + align(error.to(device=on, dtype=torch.float64), 1, count)

    def moved(place: tuple[float, float], shift: Tensor | None) -> Tensor:
        nominal = torch.tensor(place, dtype=torch.float64, device=on)
        return nominal if shift is None else nominal + align(shift.to(nominal), 1, count)

    thickness = relative(mismatch.thickness)
    stiffness = math.sqrt(design.rigidity / (design.material.density * design.thickness))
    # D ~ h³ and the mass ~ h: a plate's frequencies are as its thickness.
    lowest = stiffness * shapes.eigenvalues.to(on)
    frequency = lowest * thickness * relative(mismatch.frequency)
    damping = torch.tensor(design.dampings, dtype=torch.float64, device=on)
    mass = design.mass / 4 * thickness
    heard = shapes.at(moved(design.microphone_at, mismatch.microphone_at))
    values = (
        frequency,
        damping * relative(mismatch.damping),
        design.stiffening * (frequency / (design.thickness * thickness)).square(),
        shapes.at(moved(design.drive_at, mismatch.drive_at)) / mass,
        design.sensitivity * relative(mismatch.gain) * heard,
        mass,
    )
    return Modes(*torch.broadcast_tensors(*values))
