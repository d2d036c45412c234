"""How often and how long a device may fail before a run stops."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from metaphys._errors import check
from metaphys._options import conform, plain
from metaphys.physics import Device, WithRetries


@dataclass(frozen=True, kw_only=True)
class Patience:
    """What every configuration has that measures.

    It is no part of what a run is: a run may be resumed with more patience than it began with, and
    ends with the same numbers.
    """

    attempts: int = 3
    """Measurements of a batch before a device that fails (hangs, crashes, answers with what is not
    finite) stops the run, with its state stored."""

    timeout: float | None = None
    """Time that a measurement may take, in s; ``None`` for any time."""

    def __post_init__(self) -> None:
        conform(self)
        check(self.attempts >= 1, "attempts", expected=">= 1", got=self.attempts)
        fits = self.timeout is None or self.timeout > 0
        check(fits, "timeout", expected="> 0 (s), or None for any time", got=self.timeout)

    def patiently(self, device: Device) -> Device:
        """The device, asked again where it fails."""
        return WithRetries(device, self.attempts, timeout=self.timeout)

    def plain(self) -> dict[str, Any]:
        """All options but these two, by name."""
        return plain(self, without=[field.name for field in dataclasses.fields(Patience)])
