"""Cut the history of what a meta-optimizer made, so that later gradients stop there."""

from __future__ import annotations

from typing import Any, TypeVar

from torch import nn

from metaphys._tree import map_tensors
from metaphys.meta._tensors import cut, cut_buffer, cut_modules
from metaphys.meta.optimizer import MetaOptimizer
from metaphys.meta.state import ModuleState

Target = TypeVar("Target")


def stop_gradient(target: ModuleState | nn.Module | MetaOptimizer | Any) -> None:
    """Cut the history of everything in ``target``, in place: later gradients stop here.

    A module's history and its optimizer's are two; :meth:`MetaOptimizer.stop_gradient` cuts both.

    Args:
        target: a module (parameters and buffers), a meta-optimizer (its state), an extracted state,
            or any tree of tensors.

    Example:
        >>> import torch, metaphys
        >>> net = torch.nn.Linear(1, 1)
        >>> optimizer = metaphys.MetaSGD(net, lr=0.1)
        >>> optimizer.step(net(torch.ones(1, 1)).sum())
        >>> metaphys.stop_gradient(net)
        >>> net.weight.grad_fn is None and net.weight.requires_grad
        True
    """
    if isinstance(target, nn.Module):
        cut_modules([target])
    elif isinstance(target, ModuleState):
        map_tensors(cut, target.params)
        map_tensors(cut_buffer, target.buffers)
    else:
        map_tensors(cut, target.state_dict() if isinstance(target, MetaOptimizer) else target)


def module_detach_(target: Target) -> Target:
    """:func:`stop_gradient`, and ``target`` itself for chaining.

    Args:
        target: see :func:`stop_gradient`.

    Example:
        >>> import torch, metaphys
        >>> net = torch.nn.Linear(1, 1)
        >>> metaphys.module_detach_(net) is net
        True
    """
    stop_gradient(target)
    return target
