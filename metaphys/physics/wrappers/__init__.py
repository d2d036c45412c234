"""What stands between a device and its user, as wrappers that compose."""

from __future__ import annotations

from metaphys.physics.wrappers._archive import WithArchive
from metaphys.physics.wrappers._averaging import WithAveraging
from metaphys.physics.wrappers._converters import Converter, WithConverters
from metaphys.physics.wrappers._drift import WithDrift
from metaphys.physics.wrappers._drifting import DriftingDevice
from metaphys.physics.wrappers._gain import WithGain
from metaphys.physics.wrappers._journal import JournalEntry, WithJournal
from metaphys.physics.wrappers._limits import WithLimits
from metaphys.physics.wrappers._noise import WithNoise
from metaphys.physics.wrappers._reference import ReferenceEntry, WithReference
from metaphys.physics.wrappers._retries import DeviceError, WithRetries

__all__ = [
    "Converter",
    "DeviceError",
    "DriftingDevice",
    "JournalEntry",
    "ReferenceEntry",
    "WithArchive",
    "WithAveraging",
    "WithConverters",
    "WithDrift",
    "WithGain",
    "WithJournal",
    "WithLimits",
    "WithNoise",
    "WithReference",
    "WithRetries",
]
