"""How a flat list of leaves lies in the tree that it came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import optree
import torch

from metaphys._errors import check
from metaphys._tree import flatten, flatten_values, unflatten
from metaphys._typing import Tree
from metaphys.optim._core import PerLeaf


@dataclass(frozen=True)
class Structure:
    """A tree, and which of its leaves are in the list; the others are ``None``.

    Attributes:
        spec: the tree.
        places: the leaf of the tree that each entry of the list is.
    """

    spec: optree.PyTreeSpec
    places: tuple[int, ...]

    def tree(self, values: Sequence[Any]) -> Tree:
        """The tree with these values."""
        leaves: list[Any] = [None] * self.spec.num_leaves
        for place, value in zip(self.places, values):
            leaves[place] = value
        return unflatten(self.spec, leaves)

    def leaves(self, tree: Tree, argument: str) -> list[Any]:
        """The values of a tree of this structure."""
        leaves, spec = flatten(tree)
        check(
            spec == self.spec,
            argument,
            expected=f"a function that gives updates of the gradients' structure {self.spec}",
            got=spec,
        )
        return [leaves[place] for place in self.places]


def list_of(n: int) -> Structure:
    """The structure of a plain list of n leaves."""
    return Structure(flatten([None] * n)[1], tuple(range(n)))


def per_leaf(value: Any, spec: optree.PyTreeSpec, name: str, like: str) -> Any:
    """A hyper-parameter that may be a tree ``like`` the gradients, with one value for each leaf."""
    if (
        value is None
        or isinstance(value, (int, float, str, torch.Tensor, PerLeaf))
        or callable(value)
    ):
        return value
    leaves, found = flatten_values(value)
    check(
        found == spec,
        name,
        expected=f"a number, a tensor, a schedule, or a tree of the same structure as `{like}`",
        got=f"{found} instead of {spec}",
    )
    return PerLeaf(tuple(leaves))
