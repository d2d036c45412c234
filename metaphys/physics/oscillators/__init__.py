"""The array of coupled nonlinear oscillators: system, mismatch of a unit, spread of units."""

from __future__ import annotations

from metaphys.physics.oscillators._array import OscillatorArray
from metaphys.physics.oscillators._mismatch import OscillatorMismatch
from metaphys.physics.oscillators._spread import OscillatorSpread
from metaphys.physics.oscillators._unknowns import OscillatorUnknowns

__all__ = ["OscillatorArray", "OscillatorMismatch", "OscillatorSpread", "OscillatorUnknowns"]
