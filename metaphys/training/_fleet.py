"""Some units of a network: what runs on each of them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import optree
import torch
from torch import Tensor, nn
from torch.func import functional_call

from metaphys.nn import run_on
from metaphys.physics import Device, PhysicsAware, System, Unknowns, WithArchive
from metaphys.training._draws import Params

Scores = dict[str, Tensor]
"""Of the twin of each layer, by its number, the scores of its mismatch (p,)."""

Apply = Callable[..., Tensor]
"""``apply(params, inputs, scores=None) -> logits``, pure; ``scores`` of the twins' mismatch."""


def running(network: nn.Module, *physics: Any) -> Callable[[Params, Tensor], Tensor]:
    """The network as a function of its parameters, on these physics."""

    def apply(params: Params, inputs: Tensor) -> Tensor:
        with run_on(network, *physics):
            return functional_call(network, params, (inputs,))

    return apply


@dataclass(frozen=True)
class Twins:
    """The models that derivatives go through.

    Attributes:
        nominal: one for each layer.
        unknowns: the mismatch that each of them may be given.
    """

    nominal: tuple[System, ...]
    unknowns: tuple[Unknowns, ...]

    def at(self, scores: Scores | None) -> tuple[System, ...]:
        """Those of some scores; the nominal ones without."""
        if scores is None:
            return self.nominal
        return tuple(u.system(scores[str(layer)]) for layer, u in enumerate(self.unknowns))

    def scores(self) -> Scores:
        """Those that change nothing, to begin with."""
        return {str(layer): torch.zeros(u.size) for layer, u in enumerate(self.unknowns)}


@dataclass(frozen=True)
class Fleet:
    """The units of some seeds.

    Attributes:
        network: whose layers they are.
        twins: of the layers.
        groups: the devices of each layer, for each unit; or, where it is ``batched``, one group
            whose units lead the dimensions.
        count: how many units.
        batched: whether one measurement is of all units.
    """

    network: nn.Module
    twins: Twins
    groups: tuple[tuple[Device, ...], ...]
    count: int
    batched: bool

    @property
    def calls(self) -> int:
        """Device calls of one unit so far."""
        total = sum(device.calls for group in self.groups for device in group)
        return total // self.count

    @property
    def saved(self) -> float:
        """Time that was not spent, because an archive had the readouts, in s."""
        return sum(_saved(device) for group in self.groups for device in group)

    def each(self, function: Callable[..., Any], in_dims: Sequence[int | None], *args: Any) -> Any:
        """What ``function(apply, *args)`` gives on every unit, along a new leading dimension.

        One call for all, under ``vmap``, where the devices are batched; else one after the other.

        Args:
            function: of what runs the network on a unit, and of ``args``.
            in_dims: for each of ``args``, 0 where its tensors have a leading dimension for units.
            args: trees of tensors.
        """
        if self.batched:
            apply = self._apply(0)
            mapped = torch.vmap(
                lambda *own: function(apply, *own), tuple(in_dims), randomness="different"
            )
            return mapped(*args)
        found = [
            function(self._apply(unit), *_own(args, in_dims, unit)) for unit in range(self.count)
        ]
        return optree.tree_map(lambda *each: torch.stack(each), *found)

    def _apply(self, group: int) -> Apply:
        devices = self.groups[group]

        def apply(params: Params, inputs: Tensor, scores: Scores | None = None) -> Tensor:
            physics = map(PhysicsAware, devices, self.twins.at(scores))
            return running(self.network, *physics)(params, inputs)

        return apply


def _saved(device: Any) -> float:
    """Of a device and what it wraps."""
    total = 0.0
    while device is not None:
        total += device.saved if isinstance(device, WithArchive) else 0.0
        device = getattr(device, "device", None)
    return total


def _own(args: Sequence[Any], in_dims: Sequence[int | None], unit: int) -> list[Any]:
    return [
        arg if dim is None else optree.tree_map(operator.methodcaller("select", dim, unit), arg)
        for arg, dim in zip(args, in_dims)
    ]
