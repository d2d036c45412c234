"""A device at the other end of a folder."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, final

import numpy as np
import optree
from torch import Tensor

from metaphys._errors import check, refuse
from metaphys.physics._device import Device
from metaphys.physics._ports import Ports
from metaphys.physics.lab._exchange import ANSWER, REQUEST, identity, read, write


@final
class FileDevice(Device):
    """A device that is measured by whoever reads a folder: LabVIEW, MATLAB, a colleague.

    A measurement writes ``request-ID.npz`` and waits for ``answer-ID.npz``. Both appear whole or
    not at all; the answer has to do likewise: write another name, then rename.

    A request holds ``id`` (that of the file's name), ``drive`` (n, N), each control as
    ``control:NAME``, ``rate`` in Hz (0 where there is none), ``drive_unit`` and ``readout_unit``.
    An answer holds ``readout`` (n, M), and perhaps ``id``, ``rate`` and ``readout_unit``, which are
    compared with the request's where they are there.

    The ID is the number of the measurement and a digest of what is asked, so a program that was
    stopped and runs again finds the answers to the questions that it asks again, in the same
    order, and goes on waiting where it stopped. To measure anew, take a new folder.

    Args:
        folder: where the files go; made if need be.
        ports: sizes of drive, controls (by name) and readout.
        rate: samples a second, in Hz; ``None`` where the drive is no waveform.
        drive_unit: unit of the drive, such as ``"V"``.
        readout_unit: that of the readout.
        timeout: how long to wait for an answer, in s.
        interval: time between two looks, in s.

    Raises:
        ValueError: controls that are not by name, ``rate``, ``timeout`` or ``interval`` <= 0.

    :meth:`measure` raises ``TimeoutError`` without an answer (the request stays), and
    ``ValueError`` for one that is damaged or belongs to another request, unit or rate.

    Example:
        >>> from tempfile import mkdtemp
        >>> device = FileDevice(mkdtemp(), Ports(drive=3, controls={}, readout=3), rate=1e6,
        ...                     drive_unit="V", readout_unit="V", timeout=0.01)
        >>> import torch
        >>> try:
        ...     device.measure(torch.ones(1, 3), {})
        ... except TimeoutError as error:
        ...     print(str(error).partition("-000000")[0][:9])
        `timeout`
        >>> from metaphys.physics import answer_requests
        >>> answer_requests(device.folder, lambda drive, controls: 2 * drive)
        1
        >>> device.measure(torch.ones(1, 3), {})
        tensor([[2., 2., 2.]])
    """

    def __init__(
        self,
        folder: str | Path,
        ports: Ports,
        *,
        rate: float | None = None,
        drive_unit: str = "",
        readout_unit: str = "",
        timeout: float = 3600.0,
        interval: float = 0.1,
    ) -> None:
        by_name = isinstance(ports.controls, dict)
        check(by_name, "ports", expected="of controls by name", got=ports.controls)
        for name, value in (("timeout", timeout), ("interval", interval), ("rate", rate)):
            check(value is None or value > 0, name, expected="> 0", got=value)
        self.folder, self.ports = Path(folder), ports
        self._about = {
            "rate": np.float64(0.0 if rate is None else rate),
            "drive_unit": np.str_(drive_unit),
            "readout_unit": np.str_(readout_unit),
        }
        self._timeout, self._interval, self._number = timeout, interval, 0

    def __repr__(self) -> str:
        return f"FileDevice({str(self.folder)!r})"

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "number": self._number}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._number = int(state["number"])

    def _read(self, drive: Tensor, controls: Any) -> np.ndarray:
        paths, leaves, _ = optree.tree_flatten_with_path(controls)
        rows = drive.reshape(-1, self.ports.drive).cpu().numpy()
        leading = self.ports.has_leading(controls)
        remedy = "Measure one setting after the other."
        check(not leading, "controls", expected="one setting", got="several", remedy=remedy)
        named = {"control:" + "/".join(map(str, p)): x.cpu().numpy() for p, x in zip(paths, leaves)}
        fields = {"drive": rows, **named, **self._about}
        name = identity(self._number, fields)
        request = self.folder / f"{REQUEST}{name}.npz"
        answer = self.folder / f"{ANSWER}{name}.npz"
        if not answer.exists() and not request.exists():
            write(request, {"id": np.str_(name), **fields})
        self._wait(request, answer)
        readout = self._checked(answer, name, len(rows))
        self._number += 1
        return readout.reshape(*drive.shape[:-1], self.ports.readout)

    def _wait(self, request: Path, answer: Path) -> None:
        end = time.monotonic() + self._timeout
        while not answer.exists():
            if time.monotonic() >= end:
                refuse(
                    "timeout",
                    expected=f"long enough for {answer} to appear",
                    got=f"{self._timeout:g} s",
                    remedy=f"{request.name} stays: answer it and run again to go on from there.",
                    error=TimeoutError,
                )
            time.sleep(self._interval)

    def _checked(self, answer: Path, name: str, count: int) -> np.ndarray:
        fields = read(answer)
        remedy = "Delete the file and answer the request again."
        check("readout" in fields, f"{answer}: readout", expected="there", got=sorted(fields))
        for field, wanted in (("id", np.str_(name)), *self._about.items()):
            found = fields.get(field, wanted)
            same = np.ndim(found) == 0 and np.asarray(found) == np.asarray(wanted)
            where = f"{answer}: {field}"
            check(bool(same), where, expected=repr(wanted.item()), got=found, remedy=remedy)
        readout = fields["readout"]
        expected, where = (count, self.ports.readout), f"{answer}: readout"
        fits = readout.shape == expected
        check(fits, where, expected=f"of shape {expected}", got=readout.shape, remedy=remedy)
        real = np.issubdtype(readout.dtype, np.number) and not np.iscomplexobj(readout)
        got = f"dtype {readout.dtype}"
        check(real, where, expected="of real numbers", got=got, remedy=remedy)
        return readout
