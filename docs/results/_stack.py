"""A classifier of few numbers: element-wise drives, a stack of systems, one scalar a class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn

from metaphys.nn import PhysicalLayer
from metaphys.physics import Affine, Encoded, System


@final
class Stack(nn.Module):
    """Features in every layer's drive, logits out of one reading of the last layer for each class.

    ::

        features ─ to slots ─┬─► r·x + b ─► system ─ y ─► s·y + r·x + b ─► system ─ … y ─► logits
                             └───────────────────────────────────┘

    A computer does nothing but multiply and add element by element and clamp: what mixes the
    features is physics. A logit is w_k y_k, or w_k y_k². Readings y are shifted and divided by
    constants, taken from the nominal system under random drives, so that they are of order one.

    Args:
        system: makes each layer; its drive is as long as its readout, or a multiple of it.
        slots: (N,) the feature in each value of the drive.
        picks: the reading of each class.
        layers: number of layers.
        limits: least and greatest drive of the hardware.
        spread: standard deviation of the initial scales and offsets, in the drive's unit.
        power: square a class's reading, as the power of a voltage; an energy is one already.
        generator: source of the initial drives.
    """

    def __init__(
        self,
        system: System,
        slots: Tensor,
        picks: Sequence[int],
        *,
        layers: int,
        limits: tuple[float, float],
        spread: float,
        power: bool,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.limits, self.slots, self.picks, self.power = limits, slots, list(picks), power
        low, high = limits
        self.repeats = system.ports.drive // system.ports.readout
        self.layers = nn.ModuleList()
        for inputs in [1] + [2] * (layers - 1):
            middle = (low + high) / 2
            encoding = Affine(inputs, low, high, scale=0.0, offset=middle, spread=spread)
            encoded = Encoded(system, encoding)
            self.layers.append(PhysicalLayer(encoded, encoded.init_controls(generator=generator)))
        self.weights = nn.Parameter(torch.full((len(self.picks),), 3.0))
        known = torch.Generator().manual_seed(0)
        drives = low + (high - low) * torch.rand(256, system.ports.drive, generator=known)
        with torch.no_grad():
            readouts = system(drives, {})
        self.deviation = float((readouts - readouts.mean(0)).std())
        # Energies differ from bin to bin, as the spectrum of the laser does; voltages do not.
        self.centre = readouts.mean() if power else readouts.mean(0)
        self.level = readouts.std() if power else readouts.mean(0)

    def forward(self, features: Tensor) -> Tensor:
        """Logits (..., c) of ``features`` (..., n)."""
        x = features[..., self.slots]
        first, *others = self.layers
        y = self._normal(first(x))
        for layer in others:
            y = self._normal(layer(torch.cat([y.repeat_interleave(self.repeats, -1), x], -1)))
        picked = y[..., self.picks]
        return self.weights * (picked.square() if self.power else picked)

    def counted(self) -> tuple[int, int]:
        """Numbers that are set in hardware, the offsets of the drives, and digital factors."""
        total = sum(value.numel() for value in self.parameters())
        offsets = sum(v.numel() for n, v in self.named_parameters() if n.endswith("offset"))
        return offsets, total - offsets

    def _normal(self, readout: Tensor) -> Tensor:
        return (readout - self.centre) / self.level
