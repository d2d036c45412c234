"""Measurements on disk, committed as they are taken, so that none is lost or taken twice."""

from __future__ import annotations

import hashlib
import io
import json
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, final

import optree
import torch
from torch import Tensor

from metaphys._errors import check, refuse
from metaphys.physics._device import Device
from metaphys.physics.wrappers._wrapper import Wrapper

_TABLE = """
CREATE TABLE IF NOT EXISTS measurements (
    device TEXT NOT NULL,        -- the name of the unit
    input TEXT NOT NULL,         -- SHA-256 of drive and controls
    occurrence INTEGER NOT NULL, -- the how manieth measurement of this input, from 0
    time REAL NOT NULL,          -- when it began, s since the epoch
    seconds REAL NOT NULL,       -- how long it took
    calls INTEGER NOT NULL,      -- device calls
    shape TEXT NOT NULL,         -- of the readout, JSON
    readout BLOB NOT NULL,       -- float64, little-endian, in rows
    state BLOB NOT NULL,         -- of the device afterwards (torch.save)
    PRIMARY KEY (device, input, occurrence)
)
"""


PATIENCE = 60.0
"""How long it waits for another program that writes to the file, in s: what was measured meanwhile
would be lost."""


@final
class WithArchive(Wrapper):
    """A device whose readouts are in an SQLite file before anybody sees them.

    A program that is started again asks for the same measurements in the same order: the nth time
    that an input is measured gets the readout of the nth time, from the file as far as it goes, and
    from the device from there on. The device's own state (counters, random streams) is restored
    with each, so that a simulated one goes on as if it had not been stopped. ``calls`` counts what
    was asked for, ``device.calls`` what was measured in all, before and now.

    Readouts are kept in float64. The file is an ordinary table, one row a batch, which any SQLite
    tool reads.

    Args:
        device: what is measured.
        path: the file; made where there is none.
        name: which unit this is: a file may hold several.

    Attributes:
        replayed: how many batches came from the file.
        saved: the time that measuring those had taken, in s.

    Raises:
        ValueError: the file is no archive, or another program writes to it for more than a minute.

    Example:
        >>> from tempfile import mkdtemp
        >>> from metaphys.physics import OscillatorArray, SimulatedDevice
        >>> from metaphys.physics import WithNoise
        >>> file, array = Path(mkdtemp()) / "measurements.sqlite", OscillatorArray(3)
        >>> controls, readouts = array.init_controls(), []
        >>> for _ in range(2):                                        # the second time: a new start
        ...     noisy = WithNoise(SimulatedDevice(array), sigma=0.1, seed=7)
        ...     device = WithArchive(noisy, file, name="unit 7")
        ...     readouts.append(device.measure(torch.ones(4, 3), controls))
        >>> bool(readouts[0].equal(readouts[1])), device.replayed
        (True, 1)
    """

    def __init__(self, device: Device, path: str | Path, *, name: str) -> None:
        super().__init__(device)
        check(isinstance(name, str), "name", expected="a string", got=name, error=TypeError)
        self.path, self.name = Path(path), name
        self.replayed, self.saved = 0, 0.0
        self._seen: Counter[str] = Counter()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._open() as file:
            file.execute(_TABLE)

    def __repr__(self) -> str:
        return f"WithArchive({self.device}, {str(self.path)!r}, name={self.name!r})"

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "seen": dict(self._seen), "replayed": self.replayed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._seen, self.replayed = Counter(state["seen"]), int(state["replayed"])

    def _read(self, drive: Tensor, controls: Any) -> Tensor:
        asked = _digest(drive, controls)
        place = (self.name, asked, self._seen[asked])
        stored = self._stored(place)
        readout = stored if stored is not None else self._measured(place, drive, controls)
        # Only now: a measurement that failed was none.
        self._seen[asked] += 1
        return readout.to(drive)

    def _stored(self, place: tuple[str, str, int]) -> Tensor | None:
        query = "SELECT shape, readout, state, seconds FROM measurements"
        with self._open() as file:
            found = file.execute(
                f"{query} WHERE device = ? AND input = ? AND occurrence = ?", place
            ).fetchone()
        if found is None:
            return None
        shape, numbers, state, seconds = found
        self.device.load_state_dict(torch.load(io.BytesIO(state), weights_only=True))
        self.replayed += 1
        self.saved += seconds
        # A copy, because bytes are read-only.
        return torch.frombuffer(bytearray(numbers), dtype=torch.float64).reshape(json.loads(shape))

    def _measured(self, place: tuple[str, str, int], drive: Tensor, controls: Any) -> Tensor:
        began, start, before = time.time(), time.perf_counter(), self.device.calls
        readout = self.device._take(drive, controls)
        seconds, state = time.perf_counter() - start, io.BytesIO()
        torch.save(self.device.state_dict(), state)
        numbers = readout.detach().cpu().double().contiguous().numpy().tobytes()
        shape, calls = json.dumps(list(readout.shape)), self.device.calls - before
        row = (*place, began, seconds, calls, shape, numbers, state.getvalue())
        with self._open() as file:
            file.execute(f"INSERT INTO measurements VALUES ({', '.join('?' * len(row))})", row)
        return readout

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection, committed at the end: what is written then survives a crash."""
        try:
            with closing(sqlite3.connect(self.path, timeout=PATIENCE)) as file, file:
                yield file
        except sqlite3.DatabaseError as error:
            held = "locked" in str(error)
            held_by = "Another program writes to it; end that one, or wait."
            damaged = "It is damaged or of another kind: move it away, and measure again."
            refuse(
                "path",
                expected="an archive of measurements that can be read and written",
                got=f"{self.path} ({error})",
                remedy=held_by if held else damaged,
            )


def _digest(drive: Tensor, controls: Any) -> str:
    """What is asked for: drive and controls with their names, shapes and dtypes."""
    paths, leaves, _ = optree.tree_flatten_with_path(controls)
    found = hashlib.sha256()
    for path, value in [((), drive), *zip(paths, leaves, strict=True)]:
        found.update(f"{path} {value.dtype} {tuple(value.shape)} ".encode())
        found.update(value.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()
