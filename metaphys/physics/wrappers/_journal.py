"""What was measured when, and how long it took."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from typing import Any, final

from torch import Tensor

from metaphys.physics._device import Device
from metaphys.physics.wrappers._wrapper import Wrapper


@final
@dataclass(frozen=True)
class JournalEntry:
    """One measurement.

    Attributes:
        time: when it began, in s since the epoch.
        seconds: how long it took, in s.
        calls: the device calls that it took.
        peak: the greatest magnitude in the drive, in its unit; 0 for an empty one.
    """

    time: float
    seconds: float
    calls: int
    peak: float


@final
class WithJournal(Wrapper):
    """A device that writes down every measurement, those that failed excepted.

    Args:
        device: what is measured.

    Attributes:
        entries: what was written, oldest first.

    Example:
        >>> import torch
        >>> from metaphys.physics import Plate, SimulatedDevice
        >>> device = WithJournal(SimulatedDevice(Plate(samples=3)))
        >>> readout = device.measure(torch.tensor([[1.0, -2.0, 0.0]]), {})
        >>> [(entry.calls, entry.peak) for entry in device.entries], device.seconds > 0
        ([(1, 2.0)], True)
    """

    def __init__(self, device: Device) -> None:
        super().__init__(device)
        self.entries: list[JournalEntry] = []

    def __repr__(self) -> str:
        return f"WithJournal({self.device})"

    def state_dict(self) -> dict[str, Any]:
        entries = [dataclasses.asdict(entry) for entry in self.entries]
        return {**super().state_dict(), "entries": entries}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.entries = [JournalEntry(**entry) for entry in state["entries"]]

    def _read(self, drive: Tensor, controls: Any) -> Tensor:
        begin, before = time.time(), self.device.calls
        start = time.perf_counter()
        readout = self.device._take(drive, controls)
        seconds = time.perf_counter() - start
        peak = float(drive.abs().amax()) if drive.numel() else 0.0
        self.entries.append(JournalEntry(begin, seconds, self.device.calls - before, peak))
        return readout
