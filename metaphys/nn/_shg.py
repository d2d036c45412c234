"""A classifier made of second-harmonic generation."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from metaphys._errors import check
from metaphys.nn._layer import PhysicalLayer
from metaphys.physics import SHG, Encoded, Interleaved, Population, SHGSpread, ThinSHG


@final
class SHGNetwork(nn.Module):
    r"""Features in the spectrum of a pulse, logits out of a few bins of its second harmonic.

    ::

        features ─ repeated ─ × s ─┬─► SHG ─ 1/mean ─ × s ─┬─► SHG ─ … ─► c bins ─ × w ─► shares
                       controls ───┘           controls ───┘

    Data and controls take turns in the bins of the shaper and are clamped to [0, 1]. Each reading
    is divided by its mean over random drives of the nominal system, a constant: the spectrum of
    the pulse is a bell. Logit k is ``sharpness`` · c · w_k e_k / Σ w e over c readings e that are
    evenly spaced, so that the energy of the laser cancels.

    With the defaults and 7 classes 262 numbers are trained: 50 controls and a scale s in each of
    five layers, and 7 weights w.

    Source: the vowel classifier of Wright, Onodera et al., Nature 601, 549 (2022). Where we
    differ: constants between the layers, and shares instead of energies as logits.

    Args:
        system: makes each layer; its readout must be half as long as its drive.
        inputs: number of features; they are repeated until the data slots are full.
        classes: c.
        layers: number of layers.
        level: mean of the drive that the initial scales aim at.
        sharpness: factor on the logits.
        generator: source of the initial controls.
        dtype: of the parameters; the default dtype by default.

    Raises:
        ValueError: ``inputs`` or ``classes`` do not fit the system, ``layers`` < 1, or a readout
            that is not half as long as the drive.

    Example:
        >>> net = SHGNetwork(ThinSHG(), 12, 7)
        >>> net(torch.rand(3, 12)).shape, sum(p.numel() for p in net.parameters())
        (torch.Size([3, 7]), 262)
    """

    def __init__(
        self,
        system: SHG | ThinSHG,
        inputs: int,
        classes: int,
        *,
        layers: int = 5,
        level: float = 0.4,
        sharpness: float = 30.0,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        slots, readings = system.ports.drive // 2, system.ports.readout
        check(readings == slots, "system", expected=f"of {slots} readings", got=readings)
        check(
            1 <= inputs <= slots,
            "inputs",
            expected=f"in 1 … {slots}, the inputs of the pulse shaper",
            got=inputs,
            remedy="Images shrink by `pool` (2 makes 4 x 4 pixels of 8 x 8).",
        )
        check(2 <= classes <= slots, "classes", expected=f"in 2 … {slots}", got=classes)
        check(layers >= 1, "layers", expected=">= 1", got=layers)
        self.inputs, self.classes, self.sharpness = inputs, classes, sharpness
        self._system, self._slots = system, slots
        encoded = Encoded(system, Interleaved())
        self.layers = nn.ModuleList(
            PhysicalLayer(encoded, encoded.init_controls(generator=generator, dtype=dtype))
            for _ in range(layers)
        )
        self.scales = nn.ParameterList(torch.ones((), dtype=dtype) for _ in range(layers))
        self.weights = nn.Parameter(torch.ones(classes, dtype=dtype))
        known = torch.Generator().manual_seed(0)
        uniform = torch.rand(256, 2 * slots, generator=known, dtype=torch.float64)
        with torch.no_grad():
            self._mean = system(uniform, {}).mean(0)
            self._start(uniform[:, :inputs].to(self.weights), level)

    @property
    def systems(self) -> tuple[SHG | ThinSHG, ...]:
        """The nominal system of each layer: the twins that need no measurement."""
        return (self._system,) * len(self.layers)

    def populations(self, spread: SHGSpread, *, noise: float = 0.0) -> tuple[Population, ...]:
        """One population of set-ups for each layer; a seed stands for a network of units.

        Args:
            spread: how units differ.
            noise: standard deviation of the noise on each readout, an efficiency.

        Example:
            >>> from metaphys.nn import run_on
            >>> from metaphys.physics import PhysicsAware
            >>> net = SHGNetwork(ThinSHG(), 12, 7, layers=2)
            >>> hardware = net.populations(SHGSpread(dk0=1.0))
            >>> with run_on(net, *[PhysicsAware(p.unit(3), twin=p.system) for p in hardware]):
            ...     logits = net(torch.rand(5, 12))
        """
        return tuple(
            Population(system, spread, noise, key=f"layer {index}")
            for index, system in enumerate(self.systems)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Logits (..., c) of ``features`` (..., inputs) in [0, 1].

        Levels that leave [0, 1] are clamped and have no derivative: :func:`with_excess` is a
        penalty on them.

        Raises:
            ValueError: ``features`` has another last dimension.
        """
        y = self._data(features)
        for layer, scale in zip(self.layers, self.scales, strict=True):
            y = layer(scale * y) / self._mean.to(y)
        picked = y[..., self._slots // (2 * self.classes) :: self._slots // self.classes]
        weighted = self.weights * picked[..., : self.classes]
        return self.sharpness * self.classes * weighted / weighted.sum(-1, keepdim=True)

    def _data(self, features: Tensor) -> Tensor:
        fits = features.ndim >= 1 and features.shape[-1] == self.inputs
        expected = f"of shape (..., {self.inputs})"
        check(fits, "features", expected=expected, got=tuple(features.shape))
        repeats = -(-self._slots // self.inputs)
        return torch.cat([features] * repeats, -1)[..., : self._slots]

    def _start(self, features: Tensor, level: float) -> None:
        """Scales that give every layer but the first drives of mean ``level``."""
        y = self._data(features)
        for index, (layer, scale) in enumerate(zip(self.layers, self.scales, strict=True)):
            if index:
                scale.fill_(level / y.mean())
            y = layer(scale * y) / self._mean.to(y)
