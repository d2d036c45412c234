"""Where a module keeps its parameters: the places that a differentiable step writes to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

Container = dict[str, Any]


@dataclass(frozen=True)
class Slot:
    """One parameter and every place that holds it; more than one where weights are tied.

    Attributes:
        name: the dotted name of the first place.
        places: (the submodule's ``_parameters`` dict, key) of each place.
    """

    name: str
    places: tuple[tuple[Container, str], ...]

    def get(self) -> torch.Tensor:
        """The parameter as it is now."""
        container, key = self.places[0]
        return container[key]

    def set(self, value: torch.Tensor) -> None:
        """Put ``value`` in every place."""
        for container, key in self.places:
            container[key] = value


def parameter_slots(module: nn.Module) -> list[Slot]:
    """One slot for each distinct parameter of ``module``, in the order of ``named_parameters``."""
    places: dict[int, list[tuple[Container, str]]] = {}
    names: dict[int, str] = {}
    for prefix, submodule in module.named_modules():
        for key, value in submodule._parameters.items():
            if value is not None:
                places.setdefault(id(value), []).append((submodule._parameters, key))
                names.setdefault(id(value), f"{prefix}.{key}" if prefix else key)
    return [Slot(names[which], tuple(found)) for which, found in places.items()]


def containers(module: nn.Module, kind: str) -> list[Container]:
    """The ``_parameters`` or ``_buffers`` dicts that hold a tensor, of it and its submodules."""
    found = (getattr(submodule, kind) for submodule in module.modules())
    return [each for each in found if any(value is not None for value in each.values())]
