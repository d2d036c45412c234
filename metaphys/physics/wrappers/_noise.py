"""White noise on what a device is given and on what it gives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor

from metaphys._errors import check
from metaphys.physics._device import Device, check_device
from metaphys.physics._seeds import stream


@final
class WithNoise(Device):
    """A device whose readout, and perhaps drive, carry white Gaussian noise.

    Each unit of a fleet has its own random stream: a unit sees the same noise alone and in a
    fleet, as long as it is driven with the same batches.

    Args:
        device: what is measured. It counts the calls through it, as this wrapper does.
        sigma: standard deviation of the readout's noise, in the readout's unit.
        drive_sigma: standard deviation of the noise on the drive, in the drive's unit (the
            authors' notebook 2 has 0.02 rad here and none on the readout).
        seed: integer seed, or one for each unit of a fleet; an integer s stands for s, s + 1, …

    Raises:
        ValueError: a negative standard deviation, or another number of seeds than units.

    Example:
        >>> from metaphys.physics import OscillatorArray, SimulatedDevice
        >>> array = OscillatorArray(3)
        >>> device = WithNoise(SimulatedDevice(array), sigma=0.02, seed=7)
        >>> drive, controls = torch.ones(4, 3), array.init_controls()
        >>> 0 < (device.measure(drive, controls) - array(drive, controls)).abs().max() < 0.1
        tensor(True)
    """

    def __init__(
        self,
        device: Device,
        sigma: float,
        *,
        drive_sigma: float = 0.0,
        seed: int | Sequence[int] = 0,
    ) -> None:
        check_device(device)
        check(sigma >= 0, "sigma", expected=">= 0", got=sigma)
        check(drive_sigma >= 0, "drive_sigma", expected=">= 0", got=drive_sigma)
        count = math.prod(device.units)
        seeds = range(seed, seed + count) if isinstance(seed, int) else list(seed)
        expected = f"an integer or {count} of them, one a unit"
        check(len(seeds) == count, "seed", expected=expected, got=seed)
        self.device, self.sigma, self.drive_sigma = device, sigma, drive_sigma
        self.ports, self.units = device.ports, device.units
        self._streams = [stream(s, "noise") for s in seeds]

    def __repr__(self) -> str:
        return f"WithNoise({self.device}, sigma={self.sigma}, drive_sigma={self.drive_sigma})"

    def state_dict(self) -> dict[str, Any]:
        streams = [generator.get_state() for generator in self._streams]
        return {**super().state_dict(), "streams": streams, "device": self.device.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        count = len(self._streams)
        got = len(state["streams"])
        check(got == count, "state", expected=f"of {count} units", got=got)
        super().load_state_dict(state)
        self.device.load_state_dict(state["device"])
        for generator, saved in zip(self._streams, state["streams"], strict=True):
            generator.set_state(saved)

    def _read(self, drive: Tensor, controls: Any) -> Tensor:
        if self.drive_sigma:
            drive = drive + self.drive_sigma * self._white(drive)
        readout = self.device._take(drive, controls)
        return readout + self.sigma * self._white(readout) if self.sigma else readout

    def _white(self, like: Tensor) -> Tensor:
        shape = like.shape[len(self.units) :]
        rows = [torch.randn(shape, generator=g, dtype=like.dtype) for g in self._streams]
        return torch.stack(rows).reshape(like.shape).to(like.device)
