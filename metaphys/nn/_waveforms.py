"""A classifier made of systems that answer a waveform with a waveform."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from metaphys._errors import check
from metaphys.nn._layer import PhysicalLayer
from metaphys.nn._windows import windows
from metaphys.physics import Affine, Encoded, Population, Spread, System


@final
class WaveformNetwork(nn.Module):
    r"""Images in as waveforms, logits out as the power in windows at the end of the last readout.

    ::

        pixels (N) ─┬─► s·u + b ─► system ─ last N ─► s·x + r·u + b ─► system ─► … ─► windows (c)
                    └───────────────────────────────────────┘ the image again, to every layer

    The drive of each layer is clamped to the range of the hardware and is a sum of the former
    readout, the image and an offset, each with a trainable number for every sample: all that is
    trained are the N numbers that multiply the image in the first layer and the 2 N in the
    others, the N offsets of each, and one factor on the logits. The clamp and the power are the
    only nonlinearities of a stack of linear systems.

    Between layers the last N samples of a readout are shifted and scaled by two constants, so that
    they are of order one for a drive that fills its range.

    Source: the multilayer plate and circuit of Wright, Onodera et al., Nature 601, 549 (2022).
    Given again to every layer, the image need not be carried through the physics.

    Args:
        system: takes N samples and answers with N or more, as :class:`~metaphys.physics.Plate`
            does; one of its kind makes each layer.
        classes: c, the number of windows.
        layers: number of layers.
        low: the least drive that the hardware takes, in its unit.
        high: the greatest.
        last: samples at the end that the windows share (see :func:`windows`); the guard time, or
            half of the record where the system has none, rounded down to a multiple of c.
        spread: standard deviation of the initial scales and offsets, in half ranges.
        logit_scale: first value of the learned factor on the windows.
        generator: source of the initial controls.
        dtype: of the parameters; the default dtype by default.

    Raises:
        ValueError: ``classes`` < 2, ``layers`` < 1, an empty range, or a readout that is shorter
            than the drive or than the windows.

    Example:
        >>> from metaphys.physics import Plate
        >>> net = WaveformNetwork(Plate(samples=196, guard=100), 10, layers=2)
        >>> net(torch.rand(5, 196)).shape, sum(p.numel() for p in net.parameters())
        (torch.Size([5, 10]), 981)
    """

    def __init__(
        self,
        system: System,
        classes: int,
        *,
        layers: int = 5,
        low: float = -1.0,
        high: float = 1.0,
        last: int | None = None,
        spread: float = 0.3,
        logit_scale: float = 3.0,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check(classes >= 2, "classes", expected=">= 2", got=classes)
        check(layers >= 1, "layers", expected=">= 1", got=layers)
        n, record = system.ports.drive, system.ports.readout
        expected = f"a system that answers with {n} samples or more"
        check(record >= n, "system", expected=expected, got=record)
        self.classes, self._system, self._layers = classes, system, layers
        room = record - n if record - n >= classes else record // 2
        self.last = room // classes * classes if last is None else last
        windows(torch.empty(record), classes, last=self.last)  # refuses what does not fit
        half, centre = (high - low) / 2, (high + low) / 2
        self._centre, self._level = _size(system, low, high)
        self.layers = nn.ModuleList()
        for index in range(layers):
            # Data are of order one; their scale is the half range.
            inputs = 1 if index == 0 else 2
            encoding = Affine(inputs, low, high, scale=0.0, offset=centre, spread=spread * half)
            encoded = Encoded(system, encoding)
            controls = encoded.init_controls(generator=generator, dtype=dtype)
            self.layers.append(PhysicalLayer(encoded, controls))
        self.logit_scale = nn.Parameter(torch.tensor(logit_scale, dtype=dtype))

    @property
    def systems(self) -> tuple[System, ...]:
        """The nominal system of each layer: the twins that need no measurement."""
        return (self._system,) * self._layers

    def populations(
        self, spread: Spread, *, noise: float = 0.0, drive_noise: float = 0.0
    ) -> tuple[Population, ...]:
        """One population of systems for each layer; a seed stands for a network of units.

        Args:
            spread: how units differ.
            noise: standard deviation of the noise on each readout, in its unit.
            drive_noise: standard deviation of the noise on each drive, in its unit.

        Example:
            >>> from metaphys.nn import run_on
            >>> from metaphys.physics import PhysicsAware, Plate, PlateSpread
            >>> net = WaveformNetwork(Plate(samples=16, guard=10), 2, layers=2)
            >>> hardware = net.populations(PlateSpread(), noise=0.01)
            >>> with run_on(net, *[PhysicsAware(p.unit(12), twin=p.system) for p in hardware]):
            ...     logits = net(torch.rand(5, 16))
        """
        return tuple(
            Population(system, spread, noise, drive_noise, key=f"layer {index}")
            for index, system in enumerate(self.systems)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Logits (..., c) of ``images`` (..., N), pixels in [0, 1].

        Raises:
            ValueError: ``images`` has another last dimension than N.
        """
        n = self._system.ports.drive
        check(
            images.ndim >= 1 and images.shape[-1] == n,
            "images",
            expected=f"of shape (..., {n})",
            got=tuple(images.shape),
            remedy="Flatten an image into its pixels first; resize it to the samples of the drive.",
        )
        first, *others = self.layers
        y = self._normal(first(images))
        for layer in others:
            y = self._normal(layer(torch.cat([y[..., -n:], images], -1)))
        return self.logit_scale * windows(y, self.classes, last=self.last)

    def _normal(self, readout: Tensor) -> Tensor:
        return (readout - self._centre) / self._level


def _size(system: System, low: float, high: float) -> tuple[float, float]:
    """Mean and standard deviation of the readout for drives that are uniform in their range."""
    generator = torch.Generator().manual_seed(0)
    shape = (*system.units, 16, system.ports.drive)
    drive = low + (high - low) * torch.rand(shape, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        readout = system(drive, system.init_controls(generator=generator, dtype=torch.float64))
    return float(readout.mean()), float(readout.std())
