"""Every tensor of a module or a meta-optimizer, and ways to take one: copied, detached, cut."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from torch import nn

from metaphys._errors import refuse
from metaphys._slots import containers, tensor_slots

By = Literal["reference", "ref", "copy", "clone", "deepcopy", "deepclone"]
Convert = Callable[[torch.Tensor], torch.Tensor]


def converter(by: By, device: torch.device | str | None) -> Convert:
    """How one tensor is taken; each tensor once, so that what is tied stays tied."""
    kinds: dict[str, Convert] = {
        "reference": lambda tensor: tensor if device is None else tensor.to(device),
        # A clone keeps its graph to the source, so that the outer gradient reaches it.
        "copy": lambda tensor: tensor.clone() if device is None else tensor.clone().to(device),
        "deepcopy": lambda tensor: deep_copied(tensor, device),
    }
    aliases = {"ref": "reference", "clone": "copy", "deepclone": "deepcopy"}
    kind = aliases.get(by, by)
    if kind not in kinds:
        refuse("by", expected=f"one of {[*kinds, *aliases]}", got=repr(by))
    return each_once(kinds[kind])


def each_once(convert: Convert) -> Convert:
    """``convert``, called once for each tensor however often that is met."""
    taken: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def converted(tensor: torch.Tensor) -> torch.Tensor:
        if id(tensor) not in taken:
            taken[id(tensor)] = (tensor, convert(tensor))
        return taken[id(tensor)][1]

    return converted


def buffer_copier(detach: bool) -> Convert:
    """Copies each buffer once; a submodule that occurs twice has one buffer, not two."""
    return each_once(lambda buffer: (buffer.detach() if detach else buffer).clone())


def deep_copied(tensor: torch.Tensor, device: torch.device | str | None = None) -> torch.Tensor:
    """A copy without history, which requires a gradient where ``tensor`` does."""
    new = tensor.detach().to(tensor.device if device is None else device, copy=True)
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(new, requires_grad=tensor.requires_grad)
    return new.requires_grad_(tensor.requires_grad)


def cut(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor itself, without its history."""
    learned = tensor.requires_grad
    return tensor.detach_().requires_grad_(learned)


def cut_buffer(buffer: torch.Tensor) -> torch.Tensor:
    """:func:`cut` for what a module computed: a buffer with a history requires no gradient then.

    A leaf that requires one could not be changed in place, as BatchNorm changes its statistics.
    """
    return buffer if buffer.grad_fn is None else buffer.detach_()


def cut_modules(modules: Iterable[nn.Module]) -> None:
    """Cut the history of every parameter and buffer."""
    for tensor, is_buffer in module_tensors(modules):
        (cut_buffer if is_buffer else cut)(tensor)


def cut_buffers(module: nn.Module) -> None:
    """Replace every buffer that has a history by its value."""
    for slot in tensor_slots(module, ("_buffers",)):
        if slot.get().grad_fn is not None:
            slot.set(slot.get().detach())


def module_tensors(modules: Iterable[nn.Module]) -> list[tuple[torch.Tensor, bool]]:
    """Every parameter and buffer, and whether it is a buffer."""
    return [
        (value, kind == "_buffers")
        for module in modules
        for kind in ("_parameters", "_buffers")
        for container in containers(module, kind)
        for value in container.values()
        if value is not None
    ]


def deep_copies(tensors: Iterable[torch.Tensor], memo: dict[int, Any]) -> None:
    """Put copies without history into ``memo``: copy.deepcopy refuses tensors that have one."""
    for tensor in tensors:
        if id(tensor) not in memo:
            memo[id(tensor)] = deep_copied(tensor)
