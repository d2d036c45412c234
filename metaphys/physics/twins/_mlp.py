"""A small network between numbers of physical units: standardised in, standardised out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, silu


@final
class MLP(nn.Module):
    """Linear layers with swish between them: x (..., n) to y (..., m), in the dtype of x.

    y = offset + scale · net((x − mean) / deviation); the four are set from data by
    :meth:`standardise`. The last layer starts at zero, so that the network starts at ``offset``.
    """

    layers: Any
    mean: Tensor
    deviation: Tensor
    offset: Tensor
    scale: Tensor

    def __init__(self, sizes: Sequence[int], generator: torch.Generator | None = None) -> None:
        super().__init__()
        layers = [nn.Linear(a, b) for a, b in pairwise(sizes)]
        self.layers = nn.ModuleList(layers)
        with torch.no_grad():
            for layer in layers[:-1]:
                # He's initialisation, with swish's gain close to that of a rectifier.
                layer.weight.normal_(0.0, (2 / layer.in_features) ** 0.5, generator=generator)
                layer.bias.zero_()
            layers[-1].weight.zero_()
            layers[-1].bias.zero_()
        for name, size, value in (("mean", 0, 0.0), ("deviation", 0, 1.0)):
            self.register_buffer(name, torch.full((sizes[size],), value))
        for name, value in (("offset", 0.0), ("scale", 1.0)):
            self.register_buffer(name, torch.full((sizes[-1],), value))

    @property
    def sizes(self) -> list[int]:
        """Widths, of input, hidden layers and output."""
        weights = [layer.weight for layer in self.layers]
        return [int(weights[0].shape[1]), *(int(weight.shape[0]) for weight in weights)]

    def standardise(self, inputs: Tensor, outputs: Tensor, *, offset: bool = True) -> None:
        """Take means and deviations over all but the last dimension; a constant keeps scale 1."""
        x, y = inputs.flatten(0, -2), outputs.flatten(0, -2)
        spread, size = x.std(0, correction=0), y.std(0, correction=0)
        buffers = dict(self.named_buffers())
        buffers["mean"].copy_(x.mean(0))
        buffers["deviation"].copy_(torch.where(spread > 0, spread, 1.0))
        buffers["scale"].copy_(torch.where(size > 0, size, 1.0))
        if offset:
            buffers["offset"].copy_(y.mean(0))

    def forward(self, x: Tensor) -> Tensor:
        """The network's output."""
        mean, deviation, offset, scale = (
            value.to(x) for value in (self.mean, self.deviation, self.offset, self.scale)
        )
        x = (x - mean) / deviation
        *hidden, last = self.layers
        for layer in hidden:
            x = silu(linear(x, layer.weight.to(x), layer.bias.to(x)))
        return offset + scale * linear(x, last.weight.to(x), last.bias.to(x))
