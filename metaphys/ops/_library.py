"""The operator library: where schemas live, and whether the native kernels are loaded."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch

LIBRARY = torch.library.Library("metaphys", "FRAGMENT")
"""Every schema of metaphys. ``csrc/library.cpp`` adds implementations for the CPU."""

DISABLE = "METAPHYS_DISABLE_EXTENSION"


@dataclass(frozen=True)
class Status:
    """Whether the native kernels are in use.

    Attributes:
        loaded: whether the compiled library is loaded.
        reason: why, or why not: a sentence for a person.
    """

    loaded: bool
    reason: str


def _load() -> Status:
    if os.environ.get(DISABLE, "") not in ("", "0"):
        return Status(False, f"{DISABLE} is set, so the Python implementations are used.")
    paths = sorted((Path(__file__).parent.parent).glob("_C*.so"))
    paths += sorted((Path(__file__).parent.parent).glob("_C*.pyd"))
    if not paths:
        return Status(
            False,
            "the library is not built; `METAPHYS_EXTENSION=require pip install "
            "--no-build-isolation -e .` builds it, or says why it cannot.",
        )
    try:
        torch.ops.load_library(str(paths[0]))
    except (OSError, RuntimeError) as error:
        return Status(False, f"{paths[0].name} does not load: {error}. Rebuild it.")
    if lacking := _without_kernel():
        reason = (
            f"{paths[0].name} was built from older sources: in Python run {', '.join(lacking)}. "
            "Rebuild it, as `make setup` or `pip install` did."
        )
        warnings.warn(reason, RuntimeWarning, stacklevel=2)
        return Status(True, reason)
    return Status(True, f"{paths[0].name} is loaded.")


def _without_kernel() -> list[str]:
    """Operators that no loaded library implements for the CPU: right, but slower."""
    has = torch._C._dispatch_has_kernel_for_dispatch_key
    return sorted(name for name in LIBRARY._op_defs if not has(name, "CPU"))


_STATUS: Status | None = None


def status() -> Status:
    """Whether the native kernels are in use, and the reason.

    ``METAPHYS_DISABLE_EXTENSION=1`` in the environment, read when metaphys is first imported,
    leaves them unloaded; the Python implementations give the same numbers to rounding.

    Example:
        >>> import metaphys
        >>> isinstance(metaphys.ops.status().loaded, bool)
        True
    """
    assert _STATUS is not None
    return _STATUS


def load() -> None:
    """Load the library, once; every schema must be defined by then."""
    global _STATUS
    if _STATUS is None:
        _STATUS = _load()
