"""Configurations out of files, and out of one another."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from metaphys._errors import refuse
from metaphys._options import Options

Kind = TypeVar("Kind", bound=Options)


def at_most(config: Any, most: Mapping[str, int]) -> dict[str, Any]:
    """The options of a configuration that are named, none above its bound; ``None`` is above all.

    Example:
        >>> from metaphys.training import Config
        >>> at_most(Config(units=3, meta_steps=7), {"units": 2, "meta_steps": 9, "epoch_steps": 5})
        {'units': 2, 'meta_steps': 7, 'epoch_steps': 5}
    """
    values = {name: getattr(config, name) for name in most}
    return {n: most[n] if value is None else min(value, most[n]) for n, value in values.items()}


def alike(kind: type[Kind], other: Any, shared: str, **own: Any) -> Kind:
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


def saved_config(kind: type[Kind], metadata: Mapping[str, str], checkpoint: Path) -> Kind:
    """The configuration that a checkpoint belongs to.

    Raises:
        ValueError: there is none in it.
    """
    try:
        return kind.from_json(json.loads(metadata["config"]))
    except (KeyError, ValueError) as error:
        refuse(
            "checkpoint",
            expected="one that holds the configuration of its network",
            got=f"{checkpoint} ({error})",
            remedy="It is damaged; train again or take another one.",
        )
