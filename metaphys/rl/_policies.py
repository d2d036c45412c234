"""Policies on one-hot observations, as tables of logits and values that come from parameters.

The observation of a state is a row of the identity, so one forward pass over all S states gives
everything that trajectories of any length need. Parameters are dicts of tensors; a leading
dimension, if there is one, counts tasks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

Params = dict[str, Tensor]


class PolicyNet(ABC):
    """A policy and a value, for S states and A actions."""

    @abstractmethod
    def init(self, generator: torch.Generator | None = None) -> Params:
        """Parameters to start from."""

    @abstractmethod
    def apply(self, params: Params) -> tuple[Tensor, Tensor]:
        """Log probabilities (..., S, A) and values (..., S)."""


class MLP(PolicyNet):
    """The network of ``helpers.policy.CategoricalMLPPolicy`` with the same parameter names.

    Args:
        states: S.
        actions: A.
        width: units of each of the two hidden layers.

    Example:
        >>> net = MLP(10, 5)
        >>> log_probs, values = net.apply(net.init())
        >>> log_probs.shape, values.shape, sum(p.numel() for p in net.init().values())
        (torch.Size([10, 5]), torch.Size([10]), 1606)
    """

    def __init__(self, states: int, actions: int, width: int = 32) -> None:
        self.shapes = {
            "torso.0": (width, states),
            "torso.2": (width, width),
            "policy_head": (actions, width),
            "value_head": (1, width),
        }

    def init(self, generator: torch.Generator | None = None) -> Params:
        """As ``torch.nn.Linear`` does: uniform in plus or minus the inputs' number to the -1/2."""
        params: Params = {}
        for name, (rows, columns) in self.shapes.items():
            bound = columns**-0.5
            for kind, shape in (("weight", (rows, columns)), ("bias", (rows,))):
                uniform = torch.rand(shape, generator=generator)
                params[f"{name}.{kind}"] = bound * (2 * uniform - 1)
        return params

    def apply(self, params: Params) -> tuple[Tensor, Tensor]:
        """Log probabilities (..., S, A) and values (..., S)."""
        # The first layer applied to the identity is its own weight.
        hidden = params["torso.0.weight"].mT + params["torso.0.bias"].unsqueeze(-2)
        hidden = _linear(params, "torso.2", hidden.relu()).relu()
        logits = _linear(params, "policy_head", hidden)
        return logits.log_softmax(-1), _linear(params, "value_head", hidden).squeeze(-1)


def _linear(params: Params, name: str, inputs: Tensor) -> Tensor:
    return inputs @ params[f"{name}.weight"].mT + params[f"{name}.bias"].unsqueeze(-2)


class Tabular(PolicyNet):
    """A linear softmax policy and a linear value on the one-hot state: a table of each.

    Both start at zero: the uniform policy.

    Args:
        states: S.
        actions: A.

    Example:
        >>> net = Tabular(10, 5)
        >>> net.apply(net.init())[0].exp()[0]
        tensor([0.2000, 0.2000, 0.2000, 0.2000, 0.2000])
    """

    def __init__(self, states: int, actions: int) -> None:
        self.states, self.actions = states, actions

    def init(self, generator: torch.Generator | None = None) -> Params:
        """Zeros."""
        return {
            "logits": torch.zeros(self.states, self.actions),
            "values": torch.zeros(self.states),
        }

    def apply(self, params: Params) -> tuple[Tensor, Tensor]:
        """Log probabilities (..., S, A) and values (..., S)."""
        return params["logits"].log_softmax(-1), params["values"]


def from_module(module: nn.Module) -> Params:
    """The parameters of a ``CategoricalMLPPolicy``, for :class:`MLP`.

    Example:
        >>> module = nn.ModuleDict({"policy_head": nn.Linear(2, 3)})
        >>> list(from_module(module))
        ['policy_head.weight', 'policy_head.bias']
    """
    return {name: value.detach().clone() for name, value in module.named_parameters()}
