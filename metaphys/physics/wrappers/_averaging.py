"""Repeated measurements, averaged."""

from __future__ import annotations

from typing import Any, final

from torch import Tensor

from metaphys._errors import check
from metaphys.physics._device import Device
from metaphys.physics.wrappers._wrapper import Wrapper


@final
class WithAveraging(Wrapper):
    """A device that is measured ``repeats`` times for every readout, which is the mean.

    White noise falls by √repeats; the price is in the calls: one readout counts as ``repeats``
    calls, here and in every wrapper around.

    Args:
        device: what is measured.
        repeats: measurements of each sample.

    Raises:
        ValueError: ``repeats`` < 1.

    Example:
        >>> import torch
        >>> from metaphys.physics import OscillatorArray, SimulatedDevice, WithNoise
        >>> array = OscillatorArray(3)
        >>> device = WithAveraging(WithNoise(SimulatedDevice(array), sigma=0.1), repeats=25)
        >>> readout = device.measure(torch.ones(4, 3), array.init_controls())
        >>> device.calls
        100
    """

    def __init__(self, device: Device, repeats: int) -> None:
        super().__init__(device)
        check(repeats >= 1, "repeats", expected=">= 1", got=repeats)
        self.repeats = repeats
        self._cost *= repeats

    def __repr__(self) -> str:
        return f"WithAveraging({self.device}, repeats={self.repeats})"

    def _read(self, drive: Tensor, controls: Any) -> Tensor:
        total = self.device._take(drive, controls)
        for _ in range(self.repeats - 1):
            total = total + self.device._take(drive, controls)
        return total / self.repeats
