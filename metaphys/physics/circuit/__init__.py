"""The electronic oscillator: components, system, mismatch of a unit, spread of units, netlist."""

from __future__ import annotations

from metaphys.physics.circuit._circuit import Circuit
from metaphys.physics.circuit._components import Components, Transistor
from metaphys.physics.circuit._mismatch import CircuitMismatch
from metaphys.physics.circuit._netlist import circuit_netlist
from metaphys.physics.circuit._spread import CircuitSpread

__all__ = [
    "Circuit",
    "CircuitMismatch",
    "CircuitSpread",
    "Components",
    "Transistor",
    "circuit_netlist",
]
