"""What all wrappers of a device share."""

from __future__ import annotations

from typing import Any

from metaphys.physics._device import Device, check_device


class Wrapper(Device):
    """A device around another: its ports, its units, its state.

    A final subclass measures ``self.device`` in :meth:`_read` with ``self.device._take``. Where it
    keeps a state of its own it extends :meth:`state_dict` and :meth:`load_state_dict`.
    """

    def __init__(self, device: Device) -> None:
        check_device(device)
        self.device = device
        self.ports, self.units, self._cost = device.ports, device.units, device._cost

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "device": self.device.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.device.load_state_dict(state["device"])
        super().load_state_dict(state)
