"""What is kept on disk: states for ``torch.load``, tensors by name, files written whole."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import optree
import torch

from metaphys._errors import check
from metaphys._typing import Tree


def allow_states(*doors: ModuleType) -> None:
    """Let ``torch.load(weights_only=True)`` make the named tuples that these modules export.

    Making one runs no code: a named tuple is a tuple. Without this, torch refuses every state.
    """
    kinds = (value for door in doors for value in vars(door).values())
    states: list[Any] = [
        kind for kind in kinds if isinstance(kind, type) and hasattr(kind, "_fields")
    ]
    torch.serialization.add_safe_globals(states)


def named_tensors(tree: Tree) -> dict[str, torch.Tensor]:
    """Every tensor of a tree by its path, such as ``"0/mu/1"``, as safetensors takes them.

    They are copies without history that share no memory, which safetensors would refuse. A tensor
    that stands in two places comes twice. What is no tensor is left out.

    Args:
        tree: dicts, lists, tuples and named tuples of tensors, such as a state.

    Example:
        >>> import torch, metaphys
        >>> state = metaphys.sgd(lr=0.1, momentum=0.9).init([torch.zeros(2)])
        >>> metaphys.utils.named_tensors(state)
        {'count': tensor([0]), 'trace/0': tensor([0., 0.])}
    """
    names, leaves, _ = _named(tree)
    return {
        name: leaf.detach().clone(memory_format=torch.contiguous_format)
        for name, leaf in zip(names, leaves)
        if isinstance(leaf, torch.Tensor)
    }


def from_named_tensors(named: Mapping[str, torch.Tensor], like: Tree) -> Tree:
    """The tree that :func:`named_tensors` took apart.

    Args:
        named: the tensors.
        like: a tree of the same structure, for example the state of a new optimizer; whatever in it
            is no tensor is taken from it. Where its tensors require a gradient, so do the new
            ones, and they are on the same devices.

    Raises:
        ValueError: if names or shapes differ from those of ``like``.

    Example:
        >>> import torch, metaphys
        >>> net = torch.nn.Linear(1, 1)
        >>> optimizer = metaphys.MetaAdam(net, lr=0.1)
        >>> named = metaphys.utils.named_tensors(optimizer.state_dict())
        >>> state = metaphys.utils.from_named_tensors(named, like=optimizer.state_dict())
        >>> optimizer.load_state_dict(state)
    """
    names, leaves, spec = _named(like)
    wanted = {
        name: tuple(leaf.shape)
        for name, leaf in zip(names, leaves)
        if isinstance(leaf, torch.Tensor)
    }
    found = {name: tuple(tensor.shape) for name, tensor in named.items()}
    check(
        found == wanted,
        "named",
        expected=f"tensors of the names and shapes {wanted}",
        got=found,
        remedy="They belong to another optimizer or module.",
    )
    new = [
        named[name].detach().to(leaf.device).requires_grad_(leaf.requires_grad)
        if name in wanted
        else leaf
        for name, leaf in zip(names, leaves)
    ]
    return optree.tree_unflatten(spec, new)


def _named(tree: Tree) -> tuple[list[str], list[Any], optree.PyTreeSpec]:
    accessors, leaves, spec = optree.tree_flatten_with_accessor(tree)
    names = [
        "/".join(str(getattr(entry, "field", entry.entry)) for entry in accessor)
        for accessor in accessors
    ]
    return names, leaves, spec


def write_atomically(path: Path, content: bytes) -> None:
    """Put ``content`` at ``path``: whoever reads sees the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not tempfile: its files are for the owner alone, and a report is there to be shown.
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
