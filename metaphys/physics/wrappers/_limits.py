"""What the hardware survives: checked before every measurement."""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor

from metaphys._errors import check, refuse
from metaphys.physics._device import Device
from metaphys.physics._encoding import check_range
from metaphys.physics.wrappers._wrapper import Wrapper


@final
class WithLimits(Wrapper):
    """A device that refuses a drive that could harm it, before anything is measured or counted.

    The whole batch is checked first: nothing of it is played if one sample is refused. A drive
    that is not finite is always refused.

    Args:
        device: what is protected.
        low: the least value of the drive (amplitude), in its unit; ``None`` for no limit.
        high: the greatest.
        slew: the greatest change from one value to the next, in drive units; from ``idle`` to the
            first value and from the last back to it too.
        duty: the greatest part of the values that may differ from ``idle``, in (0, 1].
        idle: the drive between measurements, in drive units.

    Raises:
        ValueError: ``low`` >= ``high``, ``slew`` <= 0, ``duty`` not in (0, 1]; when measuring, a
            drive beyond a limit, naming the limit and where.

    Example:
        >>> from metaphys.physics import Plate, SimulatedDevice
        >>> device = WithLimits(SimulatedDevice(Plate(samples=3)), low=-1.0, high=1.0, slew=0.5)
        >>> device.measure(torch.tensor([0.0, 0.4, 1.2]), {})
        Traceback (most recent call last):
        ...
        ValueError: `drive` must be of amplitude within [-1.0, 1.0], but got 1.2 at (2,). ...
        >>> device.calls
        0
    """

    def __init__(
        self,
        device: Device,
        *,
        low: float | None = None,
        high: float | None = None,
        slew: float | None = None,
        duty: float | None = None,
        idle: float = 0.0,
    ) -> None:
        super().__init__(device)
        check_range(low, high)
        check(slew is None or slew > 0, "slew", expected="> 0, or None", got=slew)
        check(duty is None or 0 < duty <= 1, "duty", expected="in (0, 1], or None", got=duty)
        self.low, self.high, self.slew, self.duty, self.idle = low, high, slew, duty, idle

    def __repr__(self) -> str:
        names = ("low", "high", "slew", "duty", "idle")
        limits = ", ".join(f"{name}={getattr(self, name)}" for name in names)
        return f"WithLimits({self.device}, {limits})"

    def _read(self, drive: Tensor, controls: Any) -> Tensor:
        self._check_amplitude(drive)
        if self.slew is not None:
            # Compared with a margin of rounding: a ramp of the very slew is within the limit.
            pad = drive.new_full((*drive.shape[:-1], 1), self.idle)
            change = torch.cat([pad, drive, pad], -1).diff(dim=-1).abs()
            margin = 4 * torch.finfo(drive.dtype).eps * drive.abs().amax(-1, keepdim=True)
            over = change > self.slew + margin
            _refuse(over, change, f"of slew within {self.slew} a sample")
        if self.duty is not None:
            part = (drive != self.idle).to(drive.dtype).mean(-1)
            _refuse(part > self.duty, part, f"of duty within {self.duty}")
        return self.device._take(drive, controls)

    def _check_amplitude(self, drive: Tensor) -> None:
        over = ~drive.isfinite()
        if self.low is not None:
            over |= drive < self.low
        if self.high is not None:
            over |= drive > self.high
        low, high = (-float("inf") if self.low is None else self.low), self.high
        high = float("inf") if high is None else high
        _refuse(over, drive, f"of amplitude within [{low}, {high}]")


def _refuse(over: Tensor, value: Tensor, limit: str) -> None:
    if over.any():
        where = tuple(over.nonzero()[0].tolist())
        refuse(
            "drive",
            expected=limit,
            got=f"{float(value[where]):.6g} at {where}",
            remedy="Nothing was measured. Clamp it in the encoding, e.g. Affine(low=..., high=...)",
        )
