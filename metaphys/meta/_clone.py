"""Clones of modules, meta-optimizers and trees."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

import torch
from torch import nn

from metaphys._tree import map_tensors
from metaphys.meta._tensors import By, buffer_copier, converter, module_tensors
from metaphys.meta.optimizer import MetaOptimizer

Target = TypeVar("Target")


def module_clone(
    target: Target,
    *,
    by: By = "reference",
    detach_buffers: bool = False,
    device: torch.device | str | None = None,
) -> Target:
    """A clone of a module, a meta-optimizer or a tree, sharing, copying or detaching tensors.

    ``copy.deepcopy`` refuses a module that was stepped, for its parameters have a history;
    ``module_clone(net, by="deepcopy")`` copies it without.

    Args:
        target: what to clone. The clone of a meta-optimizer steps clones of its modules.
        by: see :func:`extract_state_dict`.
        detach_buffers: clone buffers without their graph.
        device: where to put the tensors; ``None`` leaves them.

    Example:
        >>> import torch, metaphys
        >>> net = torch.nn.Linear(1, 1)
        >>> metaphys.module_clone(net, by="reference").weight is net.weight
        True
        >>> metaphys.module_clone(net, by="copy").weight.grad_fn is not None
        True
    """
    convert = converter(by, device)
    if not isinstance(target, (nn.Module, MetaOptimizer)):
        return map_tensors(convert, target)
    keep = buffer_copier(detach_buffers)
    memo: dict[int, Any] = {}
    modules = [target] if isinstance(target, nn.Module) else target.modules
    for tensor, is_buffer in module_tensors(modules):
        memo[id(tensor)] = convert(keep(tensor) if is_buffer and detach_buffers else tensor)
    if isinstance(target, MetaOptimizer):

        def remember(tensor: torch.Tensor) -> None:
            memo.setdefault(id(tensor), convert(tensor))

        map_tensors(remember, target.tensors())
    return copy.deepcopy(target, memo)
