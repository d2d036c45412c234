"""A classifier made of oscillator arrays."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from metaphys._errors import check
from metaphys.nn._encoding import encode, pad
from metaphys.nn._layer import PhysicalLayer
from metaphys.physics import OscillatorArray, OscillatorSpread, Population


@final
class OscillatorNetwork(nn.Module):
    """Images in as initial angles, logits out as the final angles of the last oscillators.

    ::

        pixels (n) ─ scale ─► array of n ─► … ─► array of n + c ─► last c angles ─ × logit_scale
                                  0 … 0 (class oscillators start at rest) ─┘

    With ``layers=2`` it is the network of the authors' notebooks 1 and 2 (196 pixels, 10 classes:
    81,255 parameters), with their initial controls, uniform in ±1/sqrt(N).

    Args:
        inputs: n, the number of pixels.
        classes: c.
        layers: number of arrays; all but the last have n oscillators, the last n + c.
        steps: integration steps of each array.
        dt: length of a step, in inverse natural frequencies.
        input_scale: initial angle of a pixel of 1, in rad.
        logit_scale: first value of the learned factor on the final angles, per rad.
        coupling_limit: the couplings that the hardware can set lie within ± this (see
            :class:`PhysicalLayer`); ``None`` for no limit.
        generator: source of the initial controls.
        dtype: of the parameters; the default dtype by default.

    Raises:
        ValueError: ``inputs``, ``layers`` < 1 or ``classes`` < 2.

    Example:
        >>> net = OscillatorNetwork(4, 2, generator=torch.Generator().manual_seed(0))
        >>> net(torch.rand(5, 4)).shape
        torch.Size([5, 2])
        >>> {name: tuple(value.shape) for name, value in net.named_parameters()}
        {'logit_scale': (), 'layers.0.controls.coupling': (6, 6), 'layers.0.controls.force': (6,)}
    """

    def __init__(
        self,
        inputs: int,
        classes: int,
        *,
        layers: int = 1,
        steps: int = 5,
        dt: float = 0.1,
        input_scale: float = 1.0,
        logit_scale: float = 1.0,
        coupling_limit: float | None = None,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check(inputs >= 1, "inputs", expected=">= 1", got=inputs)
        check(classes >= 2, "classes", expected=">= 2", got=classes)
        check(layers >= 1, "layers", expected=">= 1", got=layers)
        self.inputs, self.classes, self.input_scale = inputs, classes, input_scale
        sizes = [inputs] * (layers - 1) + [inputs + classes]
        arrays = [OscillatorArray(size, steps=steps, dt=dt) for size in sizes]
        limits = {} if coupling_limit is None else {"coupling": coupling_limit}
        self.layers = nn.ModuleList(
            PhysicalLayer(
                array, array.init_controls(generator=generator, dtype=dtype), limits=limits
            )
            for array in arrays
        )
        self.logit_scale = nn.Parameter(torch.tensor(logit_scale, dtype=dtype))
        self._systems = tuple(arrays)

    @property
    def systems(self) -> tuple[OscillatorArray, ...]:
        """The nominal arrays, one a layer: the twins that need no measurement."""
        return self._systems

    def populations(
        self, spread: OscillatorSpread, *, noise: float = 0.0, drive_noise: float = 0.0
    ) -> tuple[Population, ...]:
        """One population of arrays for each layer, to draw the hardware of a whole network from.

        A seed stands for a network: its layers are independent units.

        Args:
            spread: how units differ.
            noise: standard deviation of the readout noise of each array, in rad.
            drive_noise: standard deviation of the noise on its initial angles, in rad.

        Example:
            >>> from metaphys.nn import run_on
            >>> from metaphys.physics import OscillatorSpread, PhysicsAware
            >>> net = OscillatorNetwork(4, 2, layers=2)
            >>> hardware = net.populations(OscillatorSpread(coupling=1.0, gain=0.1), noise=0.02)
            >>> pats = [PhysicsAware(p.unit(seed=12), twin=p.system) for p in hardware]
            >>> with run_on(net, *pats):
            ...     logits = net(torch.rand(5, 4))
            >>> sum(pat.device.calls for pat in pats)
            10
        """
        return tuple(
            Population(array, spread, noise, drive_noise, key=f"layer {index}")
            for index, array in enumerate(self._systems)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Logits (..., c) of ``images`` (..., n), pixels in [0, 1].

        Raises:
            ValueError: ``images`` has another last dimension than n.
        """
        check(
            images.ndim >= 1 and images.shape[-1] == self.inputs,
            "images",
            expected=f"of shape (..., {self.inputs})",
            got=tuple(images.shape),
            remedy="Flatten an image into its pixels first.",
        )
        angles = encode(images, self.input_scale)
        for layer, array in zip(self.layers, self._systems, strict=True):
            angles = layer(pad(angles, array.size))
        return self.logit_scale * angles[..., -self.classes :]
