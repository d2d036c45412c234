"""What all measurements of a characterization share: the device, its range, its controls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from metaphys.physics._device import Device


@final
@dataclass(frozen=True)
class Probe:
    """One unit under one setting of its controls, driven between ``low`` and ``high``."""

    device: Device
    controls: Any
    low: float
    high: float
    seed: int

    @property
    def middle(self) -> float:
        """The drive around which it is driven."""
        return (self.low + self.high) / 2

    @property
    def amplitude(self) -> float:
        """The largest departure from it."""
        return (self.high - self.low) / 2

    def white(self, count: int, stream: int) -> Tensor:
        """Drives (count, N), uniform in ±1: shapes of what is played."""
        generator = torch.Generator().manual_seed(1000 * self.seed + stream)
        size = count, self.device.ports.drive
        return 2 * torch.rand(size, generator=generator, dtype=torch.float64) - 1

    def answer(self, shapes: Tensor) -> Tensor:
        """Readouts (n, M), float64, of ``middle + amplitude · shapes``."""
        return self.device.measure(self.middle + self.amplitude * shapes, self.controls)
