"""A driven electronic oscillator: an RLC circuit that a transistor loads."""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor

from metaphys._errors import check
from metaphys.physics._constants import Constant
from metaphys.physics._convolve import convolve
from metaphys.physics._waveform import WaveformSystem
from metaphys.physics.circuit._components import Components
from metaphys.physics.circuit._linear import kernel
from metaphys.physics.circuit._mismatch import CircuitMismatch, compressed
from metaphys.physics.circuit._parameters import pack, unpack, values
from metaphys.physics.circuit._response import respond
from metaphys.physics.circuit._rk4 import Base, rk4
from metaphys.physics.circuit._setup import Setup, nominal, setup, tabulated

METHODS = ("exponential", "rk4")
HOLDS = ("linear", "step")
READOUTS = ("base", "collector")


@final
class Circuit(WaveformSystem):
    r"""A series RLC circuit whose capacitor feeds the base of a transistor: volts in, volts out.

    ::

                                                    Vcc
                                                     │
                                                    Rc
        drive u                            v         │
          in ──R1──────L──RL───┬───────────●───Rb──┬─● c
                               │   readout        B│
                               C                   └─ npn 2N3904
                               │                       │ E
                              ─┴─                     ─┴─

    .. math::
        L \dot i = u - (R_1 + R_L)\, i - v, \qquad C \dot v = i - i_B(v),

    where i_B(v) solves Rb, the junctions and Rc together (Ebers and Moll, saturation included).
    The circuit starts at rest. It is linear below the knee at 0.6 V and loaded by Rb above it.

    Drive: the source's voltage u (..., N) in V at the end of each sample; from one to the next it
    is a straight line (``hold="linear"``, as SPICE's PWL source) or constant (``"step"``, as a
    converter). Readout: v, or the collector's voltage, (..., N + G) in V, at the same instants.
    It has no controls: what shares the channel with the data is in front of it (:class:`Encoded`).

    The exponential step is exact in the linear part and of second order in the base current, which
    is implicit (at 1 µs off by 0.2 % of what 0.1 µs gives). Its derivatives are those of the
    implicit function, to every order, and keep three numbers a step instead of a graph; where
    forward mode takes part they are right to order 7.

    Source: Wright, Onodera et al., Nature 601, 549 (2022), arXiv:2104.13386: the electronic
    oscillator, there a measured unit with other values. Against ngspice's full model of the
    transistor v is off by 0.2 % on random drives of ±2 V; without saturation by 1.6 %. The
    collector is off by about 6 %: its storage time is left out.

    Args:
        components: their values; by default f0 = 50 kHz, Q = 3.
        samples: N, the samples of the drive.
        guard: G, the samples after it, with the source at 0 V, that are read out too.
        rate: samples a second, in Hz.
        substeps: integration steps in a sample.
        method: ``"exponential"``, or ``"rk4"`` for the classical Runge-Kutta method on the
            equation itself: the reference (``substeps=10``), slow, and right to order 3.
        hold: what the source does between samples, ``"linear"`` or ``"step"``.
        readout: ``"base"`` for v, ``"collector"`` for the transistor's collector.
        mismatch: departure of this unit, or of each unit of a fleet, from the components. Tensors
            that require grad are differentiated like a drive.

    Raises:
        ValueError: ``samples`` or ``substeps`` < 1, ``guard`` < 0, ``rate`` <= 0, an unknown
            method, hold or readout, or the collector of no transistor.

    Example:
        >>> circuit = Circuit(samples=100)
        >>> v = circuit(torch.full((100,), 0.1), {})         # below the knee: it settles to u
        >>> [round(float(x), 2) for x in (v.max(), v[-1])]
        [0.16, 0.1]
    """

    _arguments = (
        "components", "samples", "guard", "rate", "substeps", "method", "hold", "readout"
    )  # fmt: skip

    def __init__(
        self,
        components: Components | None = None,
        *,
        samples: int = 196,
        guard: int = 0,
        rate: float = 1e6,
        substeps: int = 1,
        method: str = "exponential",
        hold: str = "linear",
        readout: str = "base",
        mismatch: CircuitMismatch | None = None,
    ) -> None:
        super().__init__(samples, guard, rate, substeps)
        check(method in METHODS, "method", expected=f"one of {METHODS}", got=repr(method))
        check(hold in HOLDS, "hold", expected=f"one of {HOLDS}", got=repr(hold))
        check(readout in READOUTS, "readout", expected=f"one of {READOUTS}", got=repr(readout))
        self.components = Components() if components is None else components
        wired = readout == "base" or self.components.transistor is not None
        check(wired, "readout", expected="'base' where there is no transistor", got=repr(readout))
        self.method, self.hold, self.readout = method, hold, readout
        self.mismatch = CircuitMismatch() if mismatch is None else mismatch
        self.units = self.mismatch.units()
        self._dt = 1 / (rate * substeps)
        self._kept: Constant[Setup] = Constant(self.mismatch.given().values())
        # Made at once, so that torch.compile finds it.
        same = not self.mismatch.given() and method == "exponential"
        self._nominal = nominal(self.components, self._dt, hold) if same else None

    def _respond(self, drive: Tensor, controls: Any, settings: tuple[int, ...]) -> Tensor:
        if not drive.numel():
            return torch.nn.functional.pad(drive, (0, self.guard))
        drive = compressed(drive, self.mismatch.source)
        rows = drive.reshape(*drive.shape[: len(self.units)], -1, self.samples)
        rows = rows.reshape(-1, *rows.shape[-2:]) if self.units else rows.unsqueeze(0)
        found = self._voltage(self._source(rows))[..., self.substeps - 1 :: self.substeps]
        readout = found.reshape(*drive.shape[:-1], self.ports.readout)
        return compressed(readout, self.mismatch.reading)

    def _source(self, rows: Tensor) -> Tensor:
        """The source's voltage at the end of every step, (U, B, (N + G) · substeps)."""
        rows = torch.nn.functional.pad(rows, (0, self.guard))
        if self.substeps == 1:
            return rows
        if self.hold == "step":
            return rows.repeat_interleave(self.substeps, -1)
        parts = torch.arange(1, self.substeps + 1, dtype=rows.dtype, device=rows.device)
        before = torch.nn.functional.pad(rows[..., :-1], (1, 0)).unsqueeze(-1)
        return (before + (rows.unsqueeze(-1) - before) * (parts / self.substeps)).flatten(-2)

    def _voltage(self, source: Tensor) -> Tensor:
        """Voltage v (or the collector's) at the end of every step."""
        if self.method == "rk4":
            return self._classical(source)
        step, packed, table = self._setup(source)
        length = source.shape[-1]
        linear = kernel(step.matrix, step.later[..., 0], step.at_once[..., 0], length)
        u = convolve(linear.unsqueeze(-2), source)
        if self.components.transistor is None:
            return u
        s, w, p = respond(u, packed, table)
        q = unpack(packed)
        return w - p if self.readout == "collector" else s - q.impedance / q.Rs * (s - w)

    def _setup(self, source: Tensor) -> Setup:
        if self._nominal is not None:
            return self._nominal.to(source)
        made_of = self.components, self.mismatch, self._dt, self.hold
        if self._kept.is_constant():
            return self._kept.like(source, lambda on: tabulated(*made_of, on))
        return setup(*made_of, source)

    def _classical(self, source: Tensor) -> Tensor:
        part = values(self.components, self.mismatch, source.dtype, source.device)
        wired = self.components.transistor is not None
        base = Base(unpack(pack(self.components, part))) if wired else None
        v = rk4(source, part, base, self._dt, self.hold)
        if self.readout == "base" or base is None:
            return v
        w, p = base.voltages(v)
        return w - p
