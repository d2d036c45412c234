"""Where a module keeps its tensors: the places that a step, or another value, is written to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

Container = dict[str, Any]


@dataclass(frozen=True)
class Slot:
    """One tensor of a module and every place that holds it; more than one where it is tied.

    Attributes:
        names: the dotted name of each place.
        places: (the submodule's ``_parameters`` or ``_buffers`` dict, key) of each place.
    """

    names: tuple[str, ...]
    places: tuple[tuple[Container, str], ...]

    @property
    def name(self) -> str:
        """The dotted name of the first place."""
        return self.names[0]

    def get(self) -> torch.Tensor:
        """The tensor as it is now."""
        container, key = self.places[0]
        return container[key]

    def set(self, value: torch.Tensor) -> None:
        """Put ``value`` in every place."""
        for container, key in self.places:
            container[key] = value


def parameter_slots(module: nn.Module) -> list[Slot]:
    """One slot for each distinct parameter of ``module``, in the order of ``named_parameters``."""
    return tensor_slots(module, ("_parameters",))


def tensor_slots(module: nn.Module, kinds: tuple[str, ...]) -> list[Slot]:
    """One slot for each distinct tensor in the containers ``kinds`` of it and its submodules.

    Args:
        module: the module.
        kinds: attributes that hold a dict of tensors, such as ``_buffers``; a submodule may lack
            some of them.
    """
    places: dict[int, list[tuple[Container, str]]] = {}
    names: dict[int, list[str]] = {}
    # A submodule that occurs twice has one container, but a name for each occurrence.
    for prefix, submodule in module.named_modules(remove_duplicate=False):
        for kind in kinds:
            container = getattr(submodule, kind, {})
            for key, value in container.items():
                if value is not None:
                    places.setdefault(id(value), []).append((container, key))
                    names.setdefault(id(value), []).append(f"{prefix}.{key}" if prefix else key)
    return [Slot(tuple(names[which]), tuple(found)) for which, found in places.items()]


def containers(module: nn.Module, kind: str) -> list[Container]:
    """The ``_parameters`` or ``_buffers`` dicts that hold a tensor, of it and its submodules."""
    found = (getattr(submodule, kind) for submodule in module.modules())
    return [each for each in found if any(value is not None for value in each.values())]
