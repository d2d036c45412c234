"""A circuit in ngspice as a device."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, final

import numpy as np
from torch import Tensor

from metaphys._errors import check
from metaphys.physics._device import Device
from metaphys.physics._ports import Ports
from metaphys.physics.spice._deck import deck, piecewise
from metaphys.physics.spice._netlist import Netlist
from metaphys.physics.spice._process import Runs, find_ngspice, usable_cores

_KELVIN = 273.15
_HOLDS = ("linear", "step")


@final
class SpiceDevice(Device):
    """A netlist that ngspice simulates: volts at one node in, volts at another node out.

    ::

        drive u_1 … u_N ──► PWL source ──► netlist.drive ┌─────────┐ netlist.readout ──► v_1 … v_M
                                                         │ ngspice │
                                                         └─────────┘

    Every sample is a transient analysis that starts with all capacitors and inductors empty. Some
    ``copies`` of the circuit share a run, and runs go in parallel, each in a process of its own
    with a time limit. Nothing is written to the disk under a name.

    Drive: the source's voltage (..., N) in V at the end of each sample. Readout: (..., N + G) in V
    at the same instants. No controls: data and controls share the channel (:class:`Encoded`).

    Args:
        netlist: what is simulated; :func:`~metaphys.physics.circuit_netlist` makes a circuit's.
        samples: N, the samples of the drive.
        guard: G, the samples after it, with the source at 0 V, that are read out too.
        rate: samples a second, in Hz.
        substeps: ngspice's steps are at most a sample over this.
        hold: what the source does between samples: ``"linear"`` or ``"step"``.
        temperature: of the whole circuit, in K.
        options: ngspice's ``.options`` by name, such as ``{"reltol": 1e-5}``.
        copies: samples that share a run, and ngspice's time steps: what is measured for one
            depends on the others within ngspice's tolerance, which ``substeps`` and ``options``
            set.
        processes: runs at a time; ``None`` for as many as there are CPU cores that this process may
            use.
        timeout: time limit of a run, in s.
        executable: the program.

    Raises:
        FileNotFoundError: ngspice is not installed.
        TypeError, ValueError: an argument does not fit.

    :meth:`measure` also raises ``RuntimeError`` with what ngspice said where it fails,
    ``TimeoutError``, and ``ValueError`` for a drive that is not finite.

    Example:
        >>> import torch
        >>> from metaphys.physics.spice import Capacitor, Netlist, Resistor
        >>> low_pass = Netlist([Resistor("1", "in", "out", 1e3), Capacitor("1", "out", "0", 1e-9)],
        ...                    drive="in", readout="out")
        >>> device = SpiceDevice(low_pass, samples=10)              # doctest: +SKIP
        >>> device.measure(torch.ones(10), {})[-1]                  # doctest: +SKIP
        tensor(0.9999)
    """

    def __init__(
        self,
        netlist: Netlist,
        *,
        samples: int = 196,
        guard: int = 0,
        rate: float = 1e6,
        substeps: int = 10,
        hold: str = "linear",
        temperature: float = 300.15,
        options: Mapping[str, float] | None = None,
        copies: int = 10,
        processes: int | None = None,
        timeout: float = 60.0,
        executable: str = "ngspice",
    ) -> None:
        kind, fits = type(netlist).__name__, isinstance(netlist, Netlist)
        check(fits, "netlist", expected="a Netlist", got=kind, error=TypeError)
        processes = usable_cores() if processes is None else processes
        counts = {"samples": samples, "substeps": substeps, "copies": copies}
        for name, value in {**counts, "processes": processes}.items():
            check(value >= 1, name, expected=">= 1", got=value)
        check(guard >= 0, "guard", expected=">= 0", got=guard)
        for name, value in {"rate": rate, "temperature": temperature, "timeout": timeout}.items():
            check(value > 0, name, expected="> 0", got=value)
        check(hold in _HOLDS, "hold", expected=f"one of {_HOLDS}", got=repr(hold))
        self.netlist, self.rate, self.temperature = netlist, rate, temperature
        self.ports = Ports(samples, {}, samples + guard)
        self._hold, self._copies = hold, copies
        self._settings: dict[str, Any] = {
            "step": 1 / rate,
            "steps": samples + guard,
            "largest": 1 / (rate * substeps),
            "celsius": temperature - _KELVIN,
            "options": dict(options or {}),
        }
        self._runs = partial(Runs, find_ngspice(executable), processes, timeout)

    def __repr__(self) -> str:
        ports = self.ports
        return f"SpiceDevice({ports.drive} → {ports.readout} samples, rate={self.rate})"

    def _read(self, drive: Tensor, controls: Any) -> np.ndarray:
        volts = drive.reshape(-1, self.ports.drive).double().cpu().numpy()
        finite = bool(np.isfinite(volts).all())
        check(finite, "drive", expected="finite (V)", got="values that are not")
        groups = [volts[n : n + self._copies] for n in range(0, len(volts), self._copies)]
        tables = self._runs()([partial(self._deck, group) for group in groups])
        readout = [self._readout(table, len(group)) for table, group in zip(tables, groups)]
        shape = (*drive.shape[:-1], self.ports.readout)
        return np.concatenate([np.empty((0, shape[-1])), *readout]).reshape(shape)

    def _deck(self, volts: np.ndarray, output: str) -> str:
        sources = [piecewise(row, 1 / self.rate, self._hold) for row in volts]
        return deck(self.netlist, sources, output=output, **self._settings)

    def _readout(self, table: np.ndarray, count: int) -> np.ndarray:
        """Waveforms (count, N + G) of a table whose columns are time and the copies."""
        expected = (self.ports.readout + 1, count + 1)
        check(
            table.shape == expected,
            "readout",
            expected=f"a table of {expected[0]} instants and {expected[1]} columns",
            got=table.shape,
            remedy="ngspice stopped early; look at the netlist, or allow smaller steps.",
            error=RuntimeError,
        )
        return table[1:, 1:].T
