"""Files of recorded pairs: what each holds, and who reads and writes it."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from metaphys._errors import check, refuse
from metaphys._saving import write_atomically
from metaphys.physics.twins._csv import read_csv, write_csv
from metaphys.physics.twins._recording import Recording, array, rate_of


def read_npz(path: Path) -> Recording:
    """Arrays by name; nothing in it can run code."""
    try:
        with np.load(path, allow_pickle=False) as file:
            fields = {name: file[name] for name in file.files}
    except Exception as error:  # numpy raises what the zip reader and the header parser raise
        refuse(str(path), expected="a readable .npz of plain arrays", got=error)
    return _recording(path, fields)


def write_npz(path: Path, recording: Recording) -> None:
    """The inverse of :func:`read_npz`."""
    fields: dict[str, Any] = recording._asdict()
    if recording.rate is None:
        del fields["rate"]
    content = io.BytesIO()
    np.savez_compressed(content, **fields)
    write_atomically(path, content.getvalue())


def read_hdf5(path: Path) -> Recording:
    """Two data sets and attributes of the file."""
    h5py = _h5py()
    try:
        with h5py.File(path, "r") as file:
            found = {name: file[name] for name in ("drive", "readout") if name in file}
            groups = [name for name, each in found.items() if not hasattr(each, "shape")]
            check(not groups, f"{path}: {', '.join(groups)}", expected="a data set", got="a group")
            fields = {name: each[()] for name, each in found.items()}
            return _recording(path, {**fields, **dict(file.attrs)})
    except OSError as error:
        refuse(str(path), expected="a readable HDF5 file", got=error)


def write_hdf5(path: Path, recording: Recording) -> None:
    """The inverse of :func:`read_hdf5`."""
    h5py, content = _h5py(), io.BytesIO()
    with h5py.File(content, "w") as file:
        file["drive"], file["readout"] = recording.drive, recording.readout
        for name in ("rate", "drive_unit", "readout_unit"):
            if getattr(recording, name) is not None:
                file.attrs[name] = getattr(recording, name)
    write_atomically(path, content.getvalue())


def _h5py() -> Any:
    try:
        import h5py
    except ModuleNotFoundError as error:
        remedy = 'Install it with pip install "metaphys[hdf5]", or use .npz.'
        text = f"HDF5 needs the package h5py, which is not installed. {remedy}"
        raise ModuleNotFoundError(text, name="h5py") from error
    return h5py


def _recording(path: Path, fields: Mapping[str, Any]) -> Recording:
    drive, readout = (array(path, name, fields) for name in ("drive", "readout"))
    same, expected = len(drive) == len(readout), f"{len(drive)} rows, as many as drive has"
    check(same, f"{path}: readout", expected=expected, got=len(readout))
    rate = rate_of(path, fields["rate"]) if "rate" in fields else None
    drive_unit, readout_unit = (
        _text(fields.get(name, "")) for name in ("drive_unit", "readout_unit")
    )
    return Recording(drive, readout, rate, drive_unit, readout_unit)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


FORMATS: dict[str, tuple[Callable[[Path], Recording], Callable[[Path, Recording], None]]] = {
    ".npz": (read_npz, write_npz),
    ".csv": (read_csv, write_csv),
    ".h5": (read_hdf5, write_hdf5),
    ".hdf5": (read_hdf5, write_hdf5),
}
"""By ending: who reads it, who writes it."""
