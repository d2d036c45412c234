"""What a file of recorded pairs holds, and the checks that all formats share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from metaphys._errors import check


class Recording(NamedTuple):
    """Arrays (n, N) and (n, M), float64, with rate in Hz and units."""

    drive: np.ndarray
    readout: np.ndarray
    rate: float | None
    drive_unit: str
    readout_unit: str


def array(path: Path, name: str, fields: Mapping[str, Any]) -> np.ndarray:
    """A field (n, m) of real, finite numbers as float64.

    Raises:
        ValueError: naming the file and the field.
    """
    where = f"{path}: {name}"
    check(name in fields, where, expected="there", got=f"{sorted(fields)} alone")
    found = np.asarray(fields[name])
    real = np.issubdtype(found.dtype, np.floating) or np.issubdtype(found.dtype, np.integer)
    check(real, where, expected="of real numbers", got=f"dtype {found.dtype}")
    check(found.ndim == 2, where, expected="of shape (records, samples)", got=found.shape)
    check(found.size > 0, where, expected="not empty", got=f"shape {found.shape}")
    bad = np.argwhere(~np.isfinite(found))
    first = f"{found[tuple(bad[0])]} at {tuple(bad[0].tolist())}" if len(bad) else ""
    check(not len(bad), where, expected="finite", got=first)
    return found.astype(np.float64)


def rate_of(path: Path, value: Any) -> float:
    """A sample rate.

    Raises:
        ValueError: it is no number above 0.
    """
    found = np.asarray(value)
    number = np.issubdtype(found.dtype, np.number) and found.size == 1
    fits = number and bool(np.isfinite(found).all() and (found > 0).all())
    check(fits, f"{path}: rate", expected="one number > 0 (Hz)", got=value)
    return float(found.reshape(()))
