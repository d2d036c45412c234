"""An amplifier between a device and its readout."""

from __future__ import annotations

from typing import Any, final

from torch import Tensor

from metaphys.physics._device import Device, check_device


@final
class WithGain(Device):
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
        check_device(device)
        self.device, self.gain, self.offset = device, gain, offset
        self.ports, self.units = device.ports, device.units

    def __repr__(self) -> str:
        return f"WithGain({self.device})"

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "device": self.device.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.device.load_state_dict(state["device"])

    def _read(self, drive: Tensor, controls: Any) -> Tensor:
        return self.gain * self.device._take(drive, controls) + self.offset
