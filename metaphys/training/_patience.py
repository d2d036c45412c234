"""How often and how long a device may fail before a run stops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from metaphys._errors import check
from metaphys._options import Options
from metaphys.physics import Device, WithRetries


@dataclass(frozen=True, kw_only=True)
class Patience(Options):
    """What every configuration has that measures.

    It is no part of what a run is: a run may be resumed with more patience than it began with, and
    ends with the same numbers.
    """

    _apart: ClassVar[tuple[str, ...]] = ("attempts", "timeout")

    attempts: int = 3
    """Measurements of a batch before a device that fails (hangs, crashes, answers with what is not
    finite) stops the run, with its state stored."""

    timeout: float | None = None
    """Time that a measurement may take, in s; ``None`` for any time."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.attempts >= 1, "attempts", expected=">= 1", got=self.attempts)
        fits = self.timeout is None or self.timeout > 0
        check(fits, "timeout", expected="> 0 (s), or None for any time", got=self.timeout)

    def patiently(self, device: Device) -> Device:
        """The device, asked again where it fails."""
        return WithRetries(device, self.attempts, timeout=self.timeout)
