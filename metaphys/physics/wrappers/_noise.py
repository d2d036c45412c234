"""White noise on what a device is given and on what it gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

from torch import Tensor

from metaphys._errors import check
from metaphys.physics._device import Device
from metaphys.physics.wrappers._streams import Streams
from metaphys.physics.wrappers._wrapper import Wrapper


@final
class WithNoise(Wrapper):
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
        >>> import torch
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
        super().__init__(device)
        check(sigma >= 0, "sigma", expected=">= 0", got=sigma)
        check(drive_sigma >= 0, "drive_sigma", expected=">= 0", got=drive_sigma)
        self.sigma, self.drive_sigma = sigma, drive_sigma
        self._streams = Streams(self.units, seed, "noise")

    def __repr__(self) -> str:
        return f"WithNoise({self.device}, sigma={self.sigma}, drive_sigma={self.drive_sigma})"

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "streams": self._streams.state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._streams.load(state["streams"])
        super().load_state_dict(state)

    def _read(self, drive: Tensor, controls: Any) -> Tensor:
        if self.drive_sigma:
            drive = drive + self.drive_sigma * self._streams.white(drive)
        readout = self.device._take(drive, controls)
        return readout + self.sigma * self._streams.white(readout) if self.sigma else readout
