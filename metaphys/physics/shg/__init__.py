"""Ultrafast second-harmonic generation: shaper, crystal, spectrometer; mismatch and spread."""

from __future__ import annotations

from metaphys.physics.shg._crystal import Crystal
from metaphys.physics.shg._mismatch import SHGMismatch
from metaphys.physics.shg._propagate import propagate
from metaphys.physics.shg._pulse import Pulse
from metaphys.physics.shg._shaper import PulseShaper
from metaphys.physics.shg._shg import SHG
from metaphys.physics.shg._spectrometer import Spectrometer
from metaphys.physics.shg._spread import SHGSpread
from metaphys.physics.shg._thin import ThinSHG
from metaphys.physics.shg._window import TimeWindow

__all__ = [
    "SHG",
    "Crystal",
    "Pulse",
    "PulseShaper",
    "SHGMismatch",
    "SHGSpread",
    "Spectrometer",
    "ThinSHG",
    "TimeWindow",
    "propagate",
]
