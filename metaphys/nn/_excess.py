"""What the limits of the hardware take away from the drives of a network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from metaphys.nn._layer import PhysicalLayer, physical_layers


def with_excess(network: nn.Module, *inputs: Any) -> tuple[Any, Tensor]:
    r"""``network(*inputs)``, and by how much its drives leave the limits before they are clamped.

    .. math::
        E = \sum_l \operatorname{mean}
        \Bigl(\frac{u_l - \operatorname{clamp}(u_l)}{\text{high} - \text{low}}\Bigr)^2

    over samples and values of the drive u that the encoding of each physical layer l wants
    (:class:`~metaphys.physics.Encoded`). What is clamped has no derivative; with a multiple of E in
    the loss it finds the way back. A layer without an encoding has no limits.

    Args:
        network: a module with physical layers.
        inputs: its arguments.

    Returns:
        What the network gives, and E, a scalar, both differentiable.

    Raises:
        ValueError: ``network`` has no physical layer.

    Source: the Lagrange penalty in the code of Wright, Onodera et al., Nature 601, 549 (2022).

    Example:
        >>> from metaphys.nn import SHGNetwork
        >>> from metaphys.physics import ThinSHG
        >>> net = SHGNetwork(ThinSHG(), 12, 7)
        >>> logits, excess = with_excess(net, 3 * torch.rand(5, 12))
        >>> loss = logits.square().mean() + 10 * excess
        >>> logits.shape, bool(excess > 0)
        (torch.Size([5, 7]), True)
    """
    with watched_excess(network) as found:
        outputs = network(*inputs)
    return outputs, torch.stack(found).sum()


@contextmanager
def watched_excess(network: nn.Module) -> Iterator[list[Tensor]]:
    """While the network runs, the excess of every pass through a layer goes into the list."""
    found: list[Tensor] = []

    def note(layer: PhysicalLayer, given: tuple[Tensor, ...], _: Tensor) -> None:
        found.append(layer.excess(*given).mean())

    with ExitStack() as hooks:
        for layer in physical_layers(network, "network"):
            hooks.callback(layer.register_forward_hook(note).remove)
        yield found
