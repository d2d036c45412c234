"""What must be known of a device before a network is made of it."""

from __future__ import annotations

from metaphys.physics.characterization._characterize import Characterization, characterize
from metaphys.physics.characterization._linear import LinearMap
from metaphys.physics.characterization._range import Range
from metaphys.physics.characterization._repeatability import Repeatability
from metaphys.physics.characterization._tone import Tone

__all__ = ["Characterization", "LinearMap", "Range", "Repeatability", "Tone", "characterize"]
