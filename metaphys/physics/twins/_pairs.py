"""Recorded pairs of drive and readout, on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch
from torch import Tensor

from metaphys._errors import check, refuse
from metaphys.physics.twins._formats import FORMATS, Recording


@final
@dataclass(frozen=True)
class Pairs:
    """What a device was driven with, and what it answered.

    Attributes:
        drives: (n, N).
        readouts: (n, M).
        rate: samples a second, in Hz; ``None`` where the numbers are no waveform.
        drive_unit: the unit of the drives, such as ``"V"``.
        readout_unit: that of the readouts.

    Raises:
        ValueError: not two dimensions, another number of readouts than drives, values that are
            not finite, ``rate`` <= 0.

    Example:
        >>> pairs = Pairs(torch.zeros(4, 10), torch.zeros(4, 12), rate=1e6, drive_unit="V")
    """

    drives: Tensor
    readouts: Tensor
    rate: float | None = None
    drive_unit: str = ""
    readout_unit: str = ""

    def __post_init__(self) -> None:
        for name in ("drives", "readouts"):
            value = getattr(self, name)
            check(value.ndim == 2, name, expected="of 2 dimensions", got=tuple(value.shape))
            bad = "values that are not"
            check(bool(value.isfinite().all()), name, expected="finite", got=bad)
        count, got = len(self.drives), len(self.readouts)
        check(got == count, "readouts", expected=f"{count}, one for each drive", got=got)
        check(self.rate is None or self.rate > 0, "rate", expected="> 0 (Hz)", got=self.rate)


def read_pairs(
    path: str | Path,
    *,
    rate: float | None = None,
    drive_unit: str | None = None,
    readout_unit: str | None = None,
) -> Pairs:
    """Read a recording: ``.npz``, ``.csv``, or HDF5 (``.h5``, ``.hdf5``; extra ``hdf5``).

    ``.npz`` and HDF5 hold the arrays ``drive`` (n, N) and ``readout`` (n, M), and, where known,
    ``rate`` in Hz, ``drive_unit`` and ``readout_unit`` (in HDF5 these three are attributes of the
    file). A ``.csv`` has a header and a line for each instant::

        record,time [s],drive [V],readout [V]
        0,0.0,0.51,0.02
        0,1e-6,-0.3,0.11

    where records are alike in length, time goes on evenly in each, and the drive is empty in the
    guard time after it. Readouts may be complete or none of a line is.

    Args:
        path: the file.
        rate: what the sample rate has to be, in Hz; ``None`` to take what is there.
        drive_unit: what the drives' unit has to be, likewise.
        readout_unit: that of the readouts.

    Returns:
        The pairs, float64.

    Raises:
        FileNotFoundError: there is no such file.
        ModuleNotFoundError: HDF5 without the package h5py.
        ValueError: naming the file and its line or field, whatever does not fit.

    Example:
        >>> read_pairs("recording.csv", rate=1e6, drive_unit="V")       # doctest: +SKIP
    """
    file = Path(path)
    if not file.is_file():
        refuse("path", expected="an existing file", got=file, error=FileNotFoundError)
    found = _format(file)[0](file)
    for name, wanted in (("drive_unit", drive_unit), ("readout_unit", readout_unit)):
        value = getattr(found, name)
        remedy = "Convert the values, or name the unit that they have."
        fits = wanted is None or value == wanted
        check(fits, f"{file}: {name}", expected=repr(wanted), got=repr(value), remedy=remedy)
    fits = rate is None or (found.rate is not None and abs(found.rate - rate) <= 1e-6 * rate)
    remedy = "Resample the recording, or give the system the rate of the recording."
    check(fits, f"{file}: rate", expected=f"{rate} Hz", got=found.rate, remedy=remedy)
    try:
        drives, readouts = torch.as_tensor(found.drive), torch.as_tensor(found.readout)
        return Pairs(drives, readouts, found.rate, found.drive_unit, found.readout_unit)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None


def write_pairs(path: str | Path, pairs: Pairs) -> None:
    """Write a recording in the format of the path's ending, whole or not at all.

    Raises:
        ModuleNotFoundError: HDF5 without the package h5py.
        ValueError: another ending, or a ``.csv`` of what has no rate.

    Example:
        >>> from tempfile import mkdtemp
        >>> file = Path(mkdtemp()) / "recording.csv"
        >>> write_pairs(file, Pairs(torch.ones(1, 2), torch.ones(1, 2), rate=10.0, drive_unit="V"))
        >>> print(file.read_text(), end="")
        record,time [s],drive [V],readout []
        0,0.0,1.0,1.0
        0,0.1,1.0,1.0
    """
    file = Path(path)
    drive, readout = pairs.drives.double().cpu().numpy(), pairs.readouts.double().cpu().numpy()
    recording = Recording(drive, readout, pairs.rate, pairs.drive_unit, pairs.readout_unit)
    _format(file)[1](file, recording)


def _format(file: Path):
    known = ", ".join(FORMATS)
    if file.suffix.lower() not in FORMATS:
        refuse("path", expected=f"a file that ends in one of {known}", got=file)
    return FORMATS[file.suffix.lower()]
