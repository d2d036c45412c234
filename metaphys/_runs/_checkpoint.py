"""Trees of tensors on disk: safetensors, written whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optree
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from metaphys._errors import check, refuse
from metaphys._saving import write_atomically


def _named(tree: Any) -> tuple[dict[str, torch.Tensor], Any]:
    paths, leaves, spec = optree.tree_flatten_with_path(tree)
    names = ["/".join(map(str, path)) for path in paths]
    return dict(zip(names, leaves)), spec


def save_tree(path: Path, tree: Any, metadata: Mapping[str, str]) -> None:
    """Write a tree of tensors and some strings, atomically.

    Args:
        path: the file.
        tree: dicts, lists, tuples and named tuples of tensors.
        metadata: strings that say what this is.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "state.safetensors"
        >>> save_tree(file, {"w": torch.ones(2), "past": [torch.tensor(3)]}, {"kind": "state"})
        >>> read_metadata(file), load_tensors(file)
        ({'kind': 'state'}, {'past/0': tensor(3), 'w': tensor([1., 1.])})
        >>> load_tree(file, {"w": torch.zeros(2), "past": [torch.tensor(0)]})
        {'w': tensor([1., 1.]), 'past': [tensor(3)]}
    """
    named, _ = _named(tree)
    # Copies: safetensors refuses tensors that share memory, as unbound or expanded ones do.
    tensors = {
        name: torch.as_tensor(value).detach().clone(memory_format=torch.contiguous_format)
        for name, value in named.items()
    }
    write_atomically(path, save(tensors, dict(metadata)))


def read_metadata(path: Path) -> dict[str, str]:
    """The strings of a checkpoint.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no safetensors file, or cut off.
    """
    with _opened(path) as file:
        return dict(file.metadata() or {})


def load_tree(path: Path, like: Any) -> Any:
    """The tree that :func:`save_tree` wrote, in the structure of ``like``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, or holds other tensors than ``like``.
    """
    expected, spec = _named(like)
    with _opened(path) as file:
        found = {name: file.get_tensor(name) for name in file.keys()}
    _check_same(path, expected, found)
    return optree.tree_unflatten(spec, [found[name] for name in expected])


def load_tensors(path: Path) -> dict[str, torch.Tensor]:
    """All tensors of a checkpoint, by name.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged.
    """
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}


def _opened(path: Path) -> Any:
    if not path.is_file():
        refuse(
            "checkpoint",
            expected="an existing .safetensors file",
            got=path,
            remedy="meta-train leaves model.safetensors in its run directory.",
            error=FileNotFoundError,
        )
    try:
        return safe_open(str(path), framework="pt")
    except SafetensorError as error:
        refuse(
            "checkpoint",
            expected="a readable safetensors file",
            got=f"{path} ({error})",
            remedy="It is damaged or of another kind: take another one. A phase begins again "
            "where its file in the checkpoints of a run is deleted.",
        )


def _check_same(path: Path, expected: dict[str, Any], found: dict[str, torch.Tensor]) -> None:
    missing, extra = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    check(
        not missing and not extra,
        "checkpoint",
        expected=f"of {len(expected)} tensors for this system and these options",
        got=f"{path} without {missing} and with {extra}",
        remedy="It belongs to another system or configuration.",
    )
    for name, value in expected.items():
        shape, arrived = tuple(torch.as_tensor(value).shape), tuple(found[name].shape)
        check(
            shape == arrived,
            "checkpoint",
            expected=f"to hold {name} of shape {shape}",
            got=f"shape {arrived} in {path}",
            remedy="It belongs to another system or configuration.",
        )
