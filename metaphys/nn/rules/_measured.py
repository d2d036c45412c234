"""A bare device in a layer: measured, with no derivative and no twin."""

from __future__ import annotations

from typing import Any, final

from torch import Tensor

from metaphys.physics import Device
from metaphys.physics._device import check_device
from metaphys.physics._ports import Ports


@final
class Measured:
    """A device where a layer wants a function: ``Measured(device)(drive, controls) -> readout``.

    No derivative goes through it, neither to the drive nor to the controls: for judging a network
    on hardware, and for rules that need no twin.

    Args:
        device: what is measured.

    Raises:
        TypeError: ``device`` is no :class:`~metaphys.physics.Device`.

    Example:
        >>> import torch
        >>> from metaphys.nn import OscillatorNetwork, run_on
        >>> from metaphys.physics import SimulatedDevice
        >>> net = OscillatorNetwork(4, 2)
        >>> with run_on(net, *[Measured(SimulatedDevice(system)) for system in net.systems]):
        ...     net(torch.rand(5, 4)).shape
        torch.Size([5, 2])
    """

    def __init__(self, device: Device) -> None:
        check_device(device)
        self.device = device

    def __repr__(self) -> str:
        return f"Measured({self.device})"

    @property
    def ports(self) -> Ports:
        """The device's ports."""
        return self.device.ports

    @property
    def units(self) -> tuple[int, ...]:
        """The device's units."""
        return self.device.units

    def __call__(self, drive: Tensor, controls: Any) -> Tensor:
        """As :meth:`~metaphys.physics.Device.measure`."""
        return self.device.measure(drive, controls)
