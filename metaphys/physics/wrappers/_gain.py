"""An amplifier between a device and its readout."""

from __future__ import annotations

from typing import Any, final

from torch import Tensor

from metaphys.physics._device import Device
from metaphys.physics.wrappers._wrapper import Wrapper


@final
class WithGain(Wrapper):
    """A device behind an amplifier: ``gain * readout + offset``.

    Args:
        device: what is measured.
        gain: dimensionless; a number, or a tensor that broadcasts against the readout.
        offset: in the readout's unit; a number, or such a tensor.

    Example:
        >>> import torch
        >>> from metaphys.physics import OscillatorArray, SimulatedDevice
        >>> array = OscillatorArray(2)
        >>> device = WithGain(SimulatedDevice(array), gain=0.5)
        >>> drive, controls = torch.ones(2), array.init_controls()
        >>> bool(device.measure(drive, controls).equal(0.5 * array(drive, controls)))
        True
    """

    def __init__(
        self, device: Device, gain: float | Tensor = 1.0, offset: float | Tensor = 0.0
    ) -> None:
        super().__init__(device)
        self.gain, self.offset = gain, offset

    def __repr__(self) -> str:
        return f"WithGain({self.device})"

    def _read(self, drive: Tensor, controls: Any) -> Tensor:
        return self.gain * self.device._take(drive, controls) + self.offset
