"""How a tree becomes the flat tuple of its tensors, and back, also where torch compiles."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from optree import PyTreeSpec
from torch import Tensor

from metaphys._errors import check, refuse
from metaphys._tree import flatten, unflatten
from metaphys._typing import Tree

Flat = tuple[Tensor, ...]


class Layout:
    """How a tree becomes the flat tuple of its tensors, and back; other leaves stay with it."""

    def __init__(self, leaves: Sequence[Any], spec: PyTreeSpec) -> None:
        self._spec = spec
        self._places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
        self._leaves = [None if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        # torch.compile can read neither optree's structures nor what it says of a dict: there
        # trees are walked along this one, whose leaves are numbers.
        self._numbered = unflatten(self._spec, list(range(len(self._leaves))))

    @classmethod
    def of(cls, tree: Tree) -> tuple[Layout, Flat]:
        """The layout of ``tree``, and its tensors."""
        leaves, spec = flatten(tree)
        layout = cls(leaves, spec)
        return layout, tuple(leaves[place] for place in layout._places)

    def __len__(self) -> int:
        return len(self._places)

    def key(self) -> Hashable:
        """Equal for layouts that are interchangeable."""
        leaves = ((type(leaf), leaf if _hashable(leaf) else id(leaf)) for leaf in self._leaves)
        return self._spec, tuple(self._places), tuple(leaves)

    def tensors(self, tree: Tree) -> Flat:
        """The tensors of ``tree``, which has this layout."""
        leaves = self._found(tree)
        return tuple(leaves[place] for place in self._places)

    def check_constant(self, tree: Tree, argument: str) -> None:
        """Refuse a tree of another structure, or whose leaves that are no tensors differ."""
        if torch.compiler.is_compiling():
            leaves, spec, same = self._found(tree), None, True
        else:
            leaves, spec = flatten(tree)
            same = spec == self._spec
        others = [None if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        check(
            same and others == self._leaves,
            argument,
            expected="of one structure in all steps, with what changes in tensors",
            got=f"a step from {self._leaves} in {self._spec} to {others} in {spec}",
            remedy="Keep numbers that change, such as a count, as tensors.",
        )

    def tree(self, tensors: Sequence[Tensor]) -> Tree:
        """The tree whose tensors these are."""
        leaves = list(self._leaves)
        for place, tensor in zip(self._places, tensors):
            leaves[place] = tensor
        if torch.compiler.is_compiling():
            return _rebuilt(self._numbered, leaves)
        return unflatten(self._spec, leaves)

    def _found(self, tree: Tree) -> list[Any]:
        if not torch.compiler.is_compiling():
            return flatten(tree)[0]
        leaves = list(self._leaves)
        _find(self._numbered, tree, leaves)
        return leaves


def _rebuilt(numbered: Tree, leaves: Sequence[Any]) -> Tree:
    if isinstance(numbered, int):
        return leaves[numbered]
    if isinstance(numbered, Mapping):
        return {key: _rebuilt(value, leaves) for key, value in numbered.items()}
    parts = [_rebuilt(value, leaves) for value in _children(numbered)]
    if isinstance(numbered, list):
        return parts
    named = hasattr(numbered, "_fields") or is_dataclass(numbered)
    return type(numbered)(*parts) if named else tuple(parts)


def _find(numbered: Tree, tree: Tree, leaves: list[Any]) -> None:
    if isinstance(numbered, int):
        leaves[numbered] = tree
    elif isinstance(numbered, Mapping):
        for key, value in numbered.items():
            _find(value, tree[key], leaves)
    else:
        for value, part in zip(_children(numbered), _children(tree)):
            _find(value, part, leaves)


def _children(node: Tree) -> Sequence[Tree]:
    if is_dataclass(node):  # a schedule, whose fields are its children
        return [getattr(node, field.name) for field in fields(node)]
    if not isinstance(node, (list, tuple)):
        refuse("tree", expected="made of dicts, lists and tuples", got=f"a {type(node).__name__}")
    return node


def _hashable(leaf: Any) -> bool:
    try:
        hash(leaf)
    except TypeError:
        return False
    return True
