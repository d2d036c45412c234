"""The oscillating plate: material, design, system, mismatch of a unit, spread of units."""

from __future__ import annotations

from metaphys.physics.plate._design import PlateDesign
from metaphys.physics.plate._material import PlateMaterial
from metaphys.physics.plate._mismatch import PlateMismatch
from metaphys.physics.plate._plate import Plate
from metaphys.physics.plate._spread import PlateSpread

__all__ = ["Plate", "PlateDesign", "PlateMaterial", "PlateMismatch", "PlateSpread"]
