"""Day one in a lab: drivers, files, references."""

from __future__ import annotations

from metaphys.physics.lab._exchange import answer_requests
from metaphys.physics.lab._files import FileDevice
from metaphys.physics.lab._instrument import Instrument

__all__ = ["FileDevice", "Instrument", "answer_requests"]
