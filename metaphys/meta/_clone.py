"""Clones of modules, meta-optimizers and trees."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

import torch
from torch import nn

from metaphys._tree import flatten, map_tensors
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

    In a tree that holds a module and its optimizer, the clone of one steps the clone of the other.

    ``copy.deepcopy`` refuses a module that was stepped, for its parameters have a history;
    ``module_clone(net, by="deepcopy")`` copies it without.

    Args:
        target: a module, a meta-optimizer (its clone steps clones of its modules), a tensor, or any
            tree of these.
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
    leaves = flatten(target)[0]
    optimizers = [leaf for leaf in leaves if isinstance(leaf, MetaOptimizer)]
    modules = [leaf for leaf in leaves if isinstance(leaf, nn.Module)]
    if not (modules or optimizers):
        return map_tensors(convert, target)
    modules += [module for optimizer in optimizers for module in optimizer.modules]
    keep = buffer_copier(detach_buffers)
    memo: dict[int, Any] = {}
    for tensor, is_buffer in module_tensors(modules):
        memo[id(tensor)] = convert(keep(tensor) if is_buffer and detach_buffers else tensor)

    def remember(tensor: torch.Tensor) -> None:
        memo.setdefault(id(tensor), convert(tensor))

    map_tensors(remember, [leaves, [optimizer.tensors() for optimizer in optimizers]])
    return copy.deepcopy(target, memo)
