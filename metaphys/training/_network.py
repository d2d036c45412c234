"""A network in functional form: what of it is trained, and the systems that it is made of."""

from __future__ import annotations

from typing import Any

from torch import nn

from metaphys.nn import functional
from metaphys.physics import System
from metaphys.training._draws import Params


def with_head(network: nn.Module, classes: int) -> nn.Module:
    """The network with a trained linear layer behind its logits, which begins as the identity."""
    head = nn.Linear(classes, classes)
    nn.init.eye_(head.weight)
    nn.init.zeros_(head.bias)
    return nn.Sequential(network, head)


def trainable(network: nn.Module) -> Params:
    """The parameters to train, by name; inside the network none gathers a graph any more."""
    trained = [name for name, p in network.named_parameters() if p.requires_grad]
    network.requires_grad_(False)
    _, params = functional(network)
    return {name: params[name] for name in trained}


def systems_of(network: nn.Module) -> tuple[System, ...]:
    """The nominal system of each layer."""
    physical: Any = network[0] if isinstance(network, nn.Sequential) else network
    return physical.systems
