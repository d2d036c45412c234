"""Cut the history of what a meta-optimizer made, so that later gradients stop there."""

from __future__ import annotations

from typing import Any, TypeVar

import optree
import torch
from torch import nn

from metaphys._errors import check
from metaphys._tree import map_tensors
from metaphys._typing import Tree
from metaphys.meta._tensors import cut, cut_buffer, cut_modules
from metaphys.meta.optimizer import MetaOptimizer
from metaphys.meta.state import ModuleState
from metaphys.optim.func import FuncOptimizer

Target = TypeVar("Target")
KINDS = (torch.Tensor, nn.Module, ModuleState, MetaOptimizer, FuncOptimizer)


def stop_gradient(target: Tree) -> None:
    """Cut the history of everything in ``target``, in place: later gradients stop here.

    A module's history and its optimizer's are two: give both, or call
    :meth:`MetaOptimizer.stop_gradient`, which cuts both.

    Args:
        target: a module (parameters and buffers), a meta-optimizer or :class:`FuncOptimizer` (its
            state), an extracted state, a tensor, or any tree of these. What else is in the tree
            has no history.

    Raises:
        TypeError: if there is none of these in it, as in ``net.parameters()``, which is no tree.

    Example:
        >>> import torch, metaphys
        >>> net = torch.nn.Linear(1, 1)
        >>> optimizer = metaphys.MetaSGD(net, lr=0.1)
        >>> optimizer.step(net(torch.ones(1, 1)).sum())
        >>> metaphys.stop_gradient([net, optimizer])
        >>> net.weight.grad_fn is None and net.weight.requires_grad
        True
    """
    leaves = optree.tree_leaves(target, is_leaf=lambda each: isinstance(each, ModuleState))
    known = [leaf for leaf in leaves if isinstance(leaf, KINDS)]
    check(
        bool(known) or not leaves,
        "target",
        expected="a tree with tensors, modules, meta-optimizers or their states",
        got=f"one of {sorted({type(leaf).__name__ for leaf in leaves})}",
        remedy="Make a list of an iterator.",
        error=TypeError,
    )
    modules = [leaf for leaf in known if isinstance(leaf, nn.Module)]
    for leaf in known:
        _cut(leaf, modules)


def _cut(leaf: Any, modules: list[nn.Module]) -> None:
    """Cut one of :data:`KINDS`; ``modules`` are all that are cut too."""
    if isinstance(leaf, nn.Module):
        cut_modules([leaf])
    elif isinstance(leaf, ModuleState):
        map_tensors(cut, leaf.params)
        map_tensors(cut_buffer, leaf.buffers)
    elif isinstance(leaf, MetaOptimizer) and {*leaf.modules} <= {*modules}:
        leaf.stop_gradient()  # so that it begins to count the steps of its graph anew
    elif isinstance(leaf, (MetaOptimizer, FuncOptimizer)):
        map_tensors(cut, leaf.state_dict())
    else:
        cut(leaf)


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
