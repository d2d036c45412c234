"""Data sets by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from metaphys._errors import check
from metaphys.data._dataset import Dataset
from metaphys.data._digits import digits
from metaphys.data._mnist import mnist
from metaphys.data._vowels import vowels

# name: (loader, whether it reads files)
_LOADERS: dict[str, tuple[Any, bool]] = {
    "digits": (digits, False),
    "mnist": (mnist, True),
    "vowels": (vowels, True),
}


def names() -> tuple[str, ...]:
    """The names that :func:`load` knows.

    Example:
        >>> names()
        ('digits', 'mnist', 'vowels')
    """
    return tuple(_LOADERS)


def load(name: str, root: str | Path | None = None, **options: Any) -> Dataset:
    """The data set of this name.

    Args:
        name: one of :func:`names`.
        root: the folder of its files, where it has any.
        options: as its loader takes them.

    Raises:
        ValueError: the name is unknown, or ``root`` is missing.
        FileNotFoundError: as the loader.

    Example:
        >>> load("digits").classes
        10
    """
    known = ", ".join(names())
    check(name in _LOADERS, "name", expected=f"one of {known}", got=repr(name))
    loader, needs_root = _LOADERS[name]
    if not needs_root:
        return loader(**options)
    check(
        root is not None,
        "root",
        expected=f"the folder that holds the files of {name}",
        got=None,
        remedy="They are not part of the package.",
    )
    return loader(root, **options)
