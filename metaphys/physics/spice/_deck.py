"""The text that ngspice runs: copies of a circuit, each with its source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from metaphys.physics.spice._elements import number
from metaphys.physics.spice._netlist import Netlist


def deck(
    netlist: Netlist,
    sources: Sequence[str],
    *,
    step: float,
    steps: int,
    largest: float,
    celsius: float,
    options: Mapping[str, float],
    output: str,
) -> str:
    """A run of one copy of the circuit for each of ``sources`` (what follows its nodes).

    Node voltages at 0, ``step``, … ``steps`` · ``step`` go to ``output`` as a raw file. A copy
    costs less than a run of its own; many waveforms in a row in one source cost far more, because
    SPICE searches the source from its start at every step.
    """
    probes = " ".join(f"v(y{n})" for n in range(len(sources)))
    settings = [f".options {name}={number(value)}" for name, value in options.items()]
    copies = [f"Xu{n} x{n} y{n} unit\nVu{n} x{n} 0 {source}" for n, source in enumerate(sources)]
    lines = [
        "metaphys",
        f".subckt unit {netlist.drive} {netlist.readout}",
        *netlist.lines(),
        ".ends",
        *copies,
        f".temp {number(celsius)}",
        *settings,
        ".control",
        "set filetype=binary",
        f"tran {number(step)} {number(steps * step)} 0 {number(largest)} uic",
        f"linearize {probes}",
        f"write {output} {probes}",
        "quit",
        ".endc",
        ".end",
    ]
    return "\n".join(lines) + "\n"


def piecewise(volts: np.ndarray, step: float, hold: str) -> str:
    """A source that is at ``volts`` (N,) at step, 2 step, …, and 0 V at 0 and after the last.

    Args:
        volts: V.
        step: s.
        hold: ``"linear"``: straight lines in between; ``"step"``: each value over the whole step
            before it, with edges of a thousandth of a step.
    """
    ends = step * np.arange(1, len(volts) + 1)
    if hold == "linear":
        times, values = [0.0, *ends, ends[-1] + step], [0.0, *volts, 0.0]
    else:
        edge = step / 1000
        times = [0.0, *np.stack([ends - step + edge, ends], 1).ravel(), ends[-1] + edge]
        values = [0.0, *np.repeat(volts, 2), 0.0]
    points = " ".join(f"{number(t)} {number(v)}" for t, v in zip(times, values))
    return f"PWL({points})"
