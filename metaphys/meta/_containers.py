"""What a module's containers of parameters or buffers hold: taken, named, compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from metaphys._errors import refuse
from metaphys._slots import Container
from metaphys.meta._tensors import Convert


def converted(container: Container, convert: Convert) -> dict[str, torch.Tensor]:
    """The tensors of one container, each taken by ``convert``."""
    return {key: convert(value) for key, value in container.items() if value is not None}


def visual_contents(module: nn.Module, prefix: str) -> dict[Any, Any]:
    """``{grad_fn: (name, tensor)}`` for what has a history, ``{tensor: name}`` for leaves."""
    contents: dict[Any, Any] = {}
    for name, value in module.named_parameters():
        if value.grad_fn is not None:
            contents[value.grad_fn] = (prefix + name, value)
        else:
            contents[value] = prefix + name
    return contents


def check_match(found: list[Container], saved: tuple[Mapping[str, Any], ...], kind: str) -> None:
    """Refuse a state whose tensors have other names or shapes than what ``found`` holds."""

    def layout(each: list[Container] | tuple[Mapping[str, Any], ...]) -> list[Any]:
        return [
            {key: value.shape for key, value in container.items() if value is not None}
            for container in each
        ]

    def shown(each: list[Any]) -> list[Any]:
        return [{key: tuple(shape) for key, shape in shapes.items()} for shapes in each]

    here, there = layout(found), layout(saved)
    if here != there:
        refuse(
            "state",
            expected=f"of a module with the {kind} {shown(here)}",
            got=f"{shown(there)}",
            remedy="Recover it into the module that it was extracted from, or one like it.",
        )
