"""What stands between a device and its user, as wrappers that compose."""

from __future__ import annotations

from metaphys.physics.wrappers._gain import WithGain
from metaphys.physics.wrappers._noise import WithNoise

__all__ = ["WithGain", "WithNoise"]
