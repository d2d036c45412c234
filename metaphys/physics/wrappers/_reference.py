"""One waveform measured again and again, so that drift is seen."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from metaphys._errors import check
from metaphys.physics._device import Device
from metaphys.physics.wrappers._walk import calls_of_a_unit
from metaphys.physics.wrappers._wrapper import Wrapper


@final
@dataclass(frozen=True)
class ReferenceEntry:
    """One measurement of the reference.

    Attributes:
        time: when it began, in s since the epoch.
        calls: samples that each unit had answered before it, references excepted.
        readout: (*units, M).
        gain: its component along the first reference's readout, over that; 1 without drift.
        change: |readout − first| / |first| over all units.
    """

    time: float
    calls: int
    readout: Tensor
    gain: Tensor
    change: float


@final
class WithReference(Wrapper):
    """A device that measures a reference before the first sample and after every ``interval``.

    Batches are split where a reference is due, so that references lie at the same calls however
    samples are batched; batches of several settings of the controls are measured whole. The
    references are calls of the device and count there; wrappers outside of this one count the
    samples they asked for, so put it outermost.

    Args:
        device: what is measured.
        drive: the reference (N,), the same for every unit.
        interval: samples of a unit between two references.
        controls: those to measure it under; none by default.

    Attributes:
        references: what was measured, oldest first.

    Raises:
        ValueError: ``interval`` < 1, or a drive or controls that do not fit.

    Example:
        >>> from metaphys.physics import Plate, SimulatedDevice, WithDrift
        >>> drifting = WithDrift(SimulatedDevice(Plate(samples=8)), gain=0.01, seed=1)
        >>> device = WithReference(drifting, torch.ones(8), interval=50)
        >>> readout = device.measure(torch.ones(120, 8), {})
        >>> [each.calls for each in device.references], device.calls, drifting.calls
        ([0, 50, 100], 123, 123)
        >>> device.references[0].change == 0 < device.references[-1].change
        True
    """

    def __init__(
        self, device: Device, drive: Tensor, *, interval: int, controls: Any = None
    ) -> None:
        super().__init__(device)
        check(interval >= 1, "interval", expected="a number of samples >= 1", got=interval)
        n = self.ports.drive
        check(tuple(drive.shape) == (n,), "drive", expected=f"of shape ({n},)", got=drive.shape)
        controls = {} if controls is None else controls
        self._drive = drive.detach().clone()
        self.ports.check(self._drive.expand(*self.units, n), controls, self.units)
        self._controls, self._interval, self._count = controls, interval, 0
        self.references: list[ReferenceEntry] = []

    def __repr__(self) -> str:
        return f"WithReference({self.device}, interval={self._interval})"

    def state_dict(self) -> dict[str, Any]:
        kept = [(each.time, each.calls, each.readout) for each in self.references]
        return {**super().state_dict(), "count": self._count, "references": kept}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._count, self.references = int(state["count"]), []
        for when, calls, readout in state["references"]:
            self._add(when, calls, readout)

    def _read(self, drive: Tensor, controls: Any) -> Tensor:
        lead, units = self.ports.check(drive, controls, self.units), len(self.units)
        if len(lead) > units or not drive.numel():
            self._due()
            self._count += calls_of_a_unit(self.device, drive)
            return self.device._take(drive, controls)
        rows, parts = drive.reshape(*self.units, -1, self.ports.drive), []
        begin, total = 0, rows.shape[units]
        while begin < total:
            self._due()
            left = self._interval - self._count % self._interval
            part = rows.narrow(units, begin, min(left, total - begin))
            parts.append(self.device._take(part, controls))
            self._count += part.shape[units]
            begin += part.shape[units]
        return torch.cat(parts, units).reshape(*drive.shape[:-1], self.ports.readout)

    def _due(self) -> None:
        """Measure the reference where it is its turn."""
        last = self.references[-1].calls if self.references else -self._interval
        if self._count - last < self._interval:
            return
        when, before = time.time(), self.device.calls
        drive = self._drive.expand(*self.units, self.ports.drive)
        readout = self.device._take(drive, self._controls)
        self._calls += self.device.calls - before
        self._add(when, self._count, readout)

    def _add(self, when: float, calls: int, readout: Tensor) -> None:
        first = self.references[0].readout if self.references else readout
        gain = (readout * first).sum(-1) / first.square().sum(-1)
        change = float((readout - first).norm() / first.norm())
        self.references.append(ReferenceEntry(when, calls, readout, gain, change))
