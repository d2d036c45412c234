"""Circuits in ngspice."""

from __future__ import annotations

from typing import Any

from metaphys.physics import SpiceDevice, circuit_netlist


def in_ngspice(circuit: Any) -> SpiceDevice:
    """A circuit with its mismatch, which ngspice simulates.

    Raises:
        FileNotFoundError: ngspice is not installed.
    """
    netlist, temperature = circuit_netlist(circuit)
    return SpiceDevice(
        netlist,
        samples=circuit.samples,
        guard=circuit.guard,
        rate=circuit.rate,
        hold=circuit.hold,
        temperature=temperature,
    )
