"""Trees are flattened once, at the boundary; everything behind it works on flat lists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import optree
import torch

from metaphys._errors import check
from metaphys._typing import Tree


def flatten(tree: Tree) -> tuple[list[Any], optree.PyTreeSpec]:
    """The leaves of ``tree`` and what rebuilds it; ``None`` is a leaf."""
    leaves, spec = optree.tree_flatten(tree, none_is_leaf=True)
    return leaves, spec


def flatten_values(tree: Tree) -> tuple[list[Any], optree.PyTreeSpec]:
    """:func:`flatten` for a tree of hyper-parameters, in which a schedule is a leaf."""
    # Elsewhere a schedule is a tree of its fields, so that what it learns is seen.
    leaves, spec = optree.tree_flatten(tree, is_leaf=callable, none_is_leaf=True)
    return leaves, spec


def unflatten(spec: optree.PyTreeSpec, leaves: list[Any]) -> Tree:
    """The inverse of :func:`flatten`."""
    return optree.tree_unflatten(spec, leaves)


def flatten_tensors(tree: Tree, argument: str) -> tuple[list[Any], optree.PyTreeSpec]:
    """:func:`flatten`, and a ``TypeError`` where a leaf is neither a tensor nor ``None``."""
    leaves, spec = flatten(tree)
    for leaf in leaves:
        check(
            leaf is None or isinstance(leaf, torch.Tensor),
            argument,
            expected="a tree whose leaves are tensors or None",
            got=f"a leaf of type {type(leaf).__name__}",
            error=TypeError,
        )
    return leaves, spec


def flatten_like(tree: Tree, spec: optree.PyTreeSpec, argument: str, like: str) -> list[Any]:
    """The leaves of ``tree``, which must have the structure ``spec`` of the argument ``like``."""
    leaves, found = flatten_tensors(tree, argument)
    check(
        found == spec,
        argument,
        expected=f"a tree of the same structure as `{like}`",
        got=f"{found} instead of {spec}",
    )
    return leaves


def map_tensors(function: Callable[[torch.Tensor], Any], tree: Tree) -> Tree:
    """``tree`` with every tensor replaced by ``function(tensor)``; other leaves stay."""
    return optree.tree_map(
        lambda leaf: function(leaf) if isinstance(leaf, torch.Tensor) else leaf,
        tree,
        none_is_leaf=True,
    )
