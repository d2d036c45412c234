"""Configurations out of files, and out of one another."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from metaphys._errors import check, refuse

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Options = TypeVar("Options", bound="DataclassInstance")


def from_plain(kind: type[Options], values: Any) -> Options:
    """A configuration from what a file holds, which may be anything.

    Raises:
        ValueError: there is none in it.

    Example:
        >>> from metaphys.training import Config
        >>> from_plain(Config, {"units": 3}).units
        3
    """
    known = sorted(field.name for field in dataclasses.fields(kind))
    fits = isinstance(values, dict) and set(values) <= {*known}
    check(fits, "config", expected=f"of entries among {known}", got=values)
    try:
        return kind(**values)
    except TypeError as error:
        raise ValueError(f"`config` must be one of metaphys, but got {values}: {error}") from error


def at_most(config: Any, most: Mapping[str, int]) -> dict[str, Any]:
    """The options of a configuration that are named, none above its bound; ``None`` is above all.

    Example:
        >>> from metaphys.training import Config
        >>> at_most(Config(units=3, meta_steps=7), {"units": 2, "meta_steps": 9, "epoch_steps": 5})
        {'units': 2, 'meta_steps': 7, 'epoch_steps': 5}
    """
    values = {name: getattr(config, name) for name in most}
    return {n: most[n] if value is None else min(value, most[n]) for n, value in values.items()}


def alike(kind: type[Options], other: Any, shared: str, **own: Any) -> Options:
    """The configuration of another kind of experiment that has some options in common.

    Args:
        kind: of the configuration that is made.
        other: the one that is there.
        shared: names of what is taken from it.
        own: what is not.

    Example:
        >>> from metaphys.training import Config
        >>> alike(Config, Config(pool=4, seed=3), "pool data", noise=0.5).pool
        4
    """
    return kind(**{name: getattr(other, name) for name in shared.split()}, **own)


def saved_config(kind: type[Options], metadata: Mapping[str, str], checkpoint: Path) -> Options:
    """The configuration that a checkpoint belongs to.

    Raises:
        ValueError: there is none in it.
    """
    try:
        return from_plain(kind, json.loads(metadata["config"]))
    except (KeyError, ValueError) as error:
        refuse(
            "checkpoint",
            expected="one that holds the configuration of its network",
            got=f"{checkpoint} ({error})",
            remedy="It is damaged; train again or take another one.",
        )
