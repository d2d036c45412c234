"""Recorded pairs as text: a line for each instant."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from metaphys._errors import check, refuse
from metaphys._saving import write_atomically
from metaphys.physics.twins._recording import Recording

COLUMNS = ("record", "time", "drive", "readout")
HEADER = re.compile(r"\s*(\w+)\s*(?:\[(.*)\])?\s*")
UNEVEN = 1e-3
"""How much a step of time may differ from the mean one, as a part of it: what rounding leaves."""


class _Line(NamedTuple):
    number: int  # in the file, from 1
    record: str
    time: float
    drive: float | None
    readout: float


def read_csv(path: Path) -> Recording:
    """A recording.

    Raises:
        ValueError: naming the file and the line.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        table = list(enumerate(csv.reader(file), 1))
    table = [(number, cells) for number, cells in table if any(cell.strip() for cell in cells)]
    check(len(table) > 1, str(path), expected="a header and lines", got=f"{len(table)} lines")
    units = _header(path, table[0][1])
    records: dict[str, list[_Line]] = {}
    for number, cells in table[1:]:
        line = _line(path, number, cells)
        records.setdefault(line.record, []).append(line)
    rate = _rate(path, list(records.values()))
    alike = list(records.values())
    drives = [[line.drive for line in lines if line.drive is not None] for lines in alike]
    readouts = [[line.readout for line in lines] for lines in alike]
    for lines, drive in zip(alike, drives):
        where = f"{path}, line {lines[0].number}: record {lines[0].record}"
        sizes = len(drives[0]), len(readouts[0])
        expected = f"of {sizes[0]} drives and {sizes[1]} readouts, as the first is"
        got = f"{len(drive)} and {len(lines)}"
        alike_in_length = (len(drive), len(lines)) == sizes and len(drive) > 0
        check(alike_in_length, where, expected=expected, got=got)
        ends = next((line for line in lines[len(drive) :] if line.drive is not None), None)
        if ends is not None:
            expected = "empty after an empty one: the guard time follows the drive"
            refuse(f"{path}, line {ends.number}: drive", expected=expected, got=ends.drive)
    return Recording(np.array(drives), np.array(readouts), rate, units["drive"], units["readout"])


def write_csv(path: Path, recording: Recording) -> None:
    """The inverse of :func:`read_csv`.

    Raises:
        ValueError: the recording has no rate.
    """
    rate = recording.rate
    if rate is None:
        remedy = "Where the numbers are no waveform, use .npz."
        refuse("pairs.rate", expected="given, for the column of time", got=rate, remedy=remedy)
    text = io.StringIO()
    units = f"drive [{recording.drive_unit}]", f"readout [{recording.readout_unit}]"
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("record", "time [s]", *units))
    for number, (drive, readout) in enumerate(zip(recording.drive, recording.readout)):
        for n, value in enumerate(readout):
            given = repr(float(drive[n])) if n < len(drive) else ""
            writer.writerow((number, repr(n / rate), given, repr(float(value))))
    write_atomically(path, text.getvalue().encode())


def _header(path: Path, cells: Sequence[str]) -> dict[str, str]:
    """The units by column."""
    found = [HEADER.fullmatch(cell) for cell in cells]
    names = tuple(match[1] if match else "" for match in found)
    expected = f"a header of the columns {', '.join(COLUMNS)}, units in brackets"
    check(names == COLUMNS, f"{path}, line 1", expected=expected, got=",".join(cells))
    units = {match[1]: match[2] or "" for match in found if match}
    remedy = "Convert the times."
    seconds = units["time"] in ("", "s")
    check(seconds, f"{path}, line 1: time", expected="in [s]", got=units["time"], remedy=remedy)
    return units


def _line(path: Path, number: int, cells: Sequence[str]) -> _Line:
    where = f"{path}, line {number}"
    check(len(cells) == len(COLUMNS), where, expected=f"{len(COLUMNS)} cells", got=len(cells))
    record, time, drive, readout = (cell.strip() for cell in cells)

    def value(name: str, cell: str) -> float:
        try:
            found = float(cell)
        except ValueError:
            found = float("nan")
        check(np.isfinite(found), f"{where}: {name}", expected="a finite number", got=repr(cell))
        return found

    given = value("drive", drive) if drive else None
    return _Line(number, record, value("time", time), given, value("readout", readout))


def _rate(path: Path, records: Sequence[Sequence[_Line]]) -> float:
    first = records[0]
    check(len(first) > 1, str(path), expected="records of 2 lines or more", got=len(first))
    step = (first[-1].time - first[0].time) / (len(first) - 1)
    for lines in records:
        for before, line in pairwise(lines):
            taken = line.time - before.time
            even = step > 0 and abs(taken - step) <= UNEVEN * step
            expected = f"{step:.6g} s after the line before, as all are"
            got, remedy = f"{taken:.6g} s", "Resample it evenly."
            where = f"{path}, line {line.number}: time"
            check(even, where, expected=expected, got=got, remedy=remedy)
    return 1 / step
