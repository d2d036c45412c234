"""A driver that speaks numpy as a device."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, final

import numpy as np
import optree
from torch import Tensor

from metaphys._errors import check
from metaphys.physics._device import Device
from metaphys.physics._ports import Ports


@final
class Instrument(Device):
    """A driver's function as a device: arrays in batches, in the process that opened it.

    A session with an instrument (VISA, USB, a socket) belongs to one process: a forked worker that
    writes to it too would garble both. So a copy in another process refuses to measure, and an
    instrument cannot be pickled.

    Args:
        read: ``read(drive, controls) -> readout`` with arrays ``drive`` (n, N) and ``readout``
            (n, M), and ``controls`` a tree of arrays like ``ports.controls``, for one setting.
        ports: sizes of drive, controls and readout.
        batch: the most rows of a call of ``read``; ``None`` for any number.

    Raises:
        TypeError: ``read`` cannot be called.
        ValueError: ``batch`` < 1; when measuring, controls of more than one setting.

    :meth:`measure` raises ``RuntimeError`` in another process than that which made it.

    Example:
        >>> import torch
        >>> ports = Ports(drive=3, controls={}, readout=3)
        >>> scope = Instrument(lambda drive, controls: 2 * drive, ports, batch=2)
        >>> scope.measure(torch.ones(5, 3), {}).shape, scope.calls
        (torch.Size([5, 3]), 5)
    """

    def __init__(
        self,
        read: Callable[[np.ndarray, Any], np.ndarray],
        ports: Ports,
        *,
        batch: int | None = None,
    ) -> None:
        kind = type(read).__name__
        check(callable(read), "read", expected="a function", got=kind, error=TypeError)
        check(batch is None or batch >= 1, "batch", expected=">= 1, or None", got=batch)
        self.ports = ports
        self._driver, self._batch, self._process = read, batch, os.getpid()

    def __repr__(self) -> str:
        return f"Instrument({getattr(self._driver, '__name__', self._driver)}, {self.ports})"

    def __reduce__(self) -> Any:
        raise TypeError("an Instrument cannot be pickled: its session belongs to one process")

    def _read(self, drive: Tensor, controls: Any) -> np.ndarray:
        check(
            os.getpid() == self._process,
            "device",
            expected=f"used in the process {self._process} that opened it",
            got=f"a call in process {os.getpid()}",
            remedy="Measure in the main process, or open the instrument in the worker.",
            error=RuntimeError,
        )
        leading = self.ports.has_leading(controls)
        remedy = "Measure one setting after the other."
        check(not leading, "controls", expected="one setting", got="several", remedy=remedy)
        rows = drive.reshape(-1, self.ports.drive).cpu().numpy()
        held: Any = optree.tree_map(lambda control: control.cpu().numpy(), controls)
        size = max(len(rows), 1) if self._batch is None else self._batch
        parts = [self._part(rows[n : n + size], held) for n in range(0, len(rows), size)]
        empty = np.empty((0, self.ports.readout), rows.dtype)
        return np.concatenate([empty, *parts]).reshape(*drive.shape[:-1], self.ports.readout)

    def _part(self, rows: np.ndarray, controls: Any) -> np.ndarray:
        readout = np.asarray(self._driver(rows, controls))
        expected = (len(rows), self.ports.readout)
        fits = readout.shape == expected
        text = f"an array of shape {expected}"
        check(fits, "read", expected=text, got=readout.shape, error=RuntimeError)
        return readout
