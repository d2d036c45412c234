"""Random drives of one unit, measured as they are asked for and never twice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor

from metaphys._errors import check
from metaphys.physics import Device, random_drives


@final
class Measurement:
    """A fixed sequence of random drives of one unit, under one setting of its controls.

    Args:
        device: the unit.
        low: drives are uniform from this, in the drive's unit,
        high: to this.
        most: how many there are at most.
        seed: of the drives.
        controls: those of the measurement; by default all zero.

    Example:
        >>> from metaphys.physics import OscillatorArray, SimulatedDevice
        >>> device = SimulatedDevice(OscillatorArray(3))
        >>> unit = Measurement(device, low=-1.5, high=1.5, most=9, seed=0)
        >>> drives, readouts = unit.first(4)
        >>> again, _ = unit.first(2)
        >>> readouts.shape, unit.calls, bool(again.equal(drives[:2]))
        (torch.Size([4, 3]), 4, True)
    """

    def __init__(
        self,
        device: Device,
        *,
        low: float,
        high: float,
        most: int,
        seed: int,
        controls: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.device, ports = device, device.ports
        self._drives = random_drives(ports, most, low=low, high=high, seed=seed)
        self._readouts = self._drives.new_empty(0, ports.readout)
        zero = {n: torch.zeros(shape) for n, shape in ports.controls.items()}
        self.controls = zero if controls is None else dict(controls)

    @property
    def calls(self) -> int:
        """How many drives were measured."""
        return len(self._readouts)

    def first(self, count: int) -> tuple[Tensor, Tensor]:
        """The first ``count`` drives and their readouts; what is missing is measured now.

        Raises:
            ValueError: there are not so many.
        """
        most = len(self._drives)
        remedy = "A unit is made with the drives that its largest budget takes."
        check(0 <= count <= most, "count", expected=f"0 … {most}", got=count, remedy=remedy)
        if count > self.calls:
            fresh = self.device.measure(self._drives[self.calls : count], self.controls)
            self._readouts = torch.cat([self._readouts, fresh])
        return self._drives[:count], self._readouts[:count]
