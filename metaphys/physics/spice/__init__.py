"""Circuits in ngspice: typed netlists, and a device that simulates them."""

from __future__ import annotations

from metaphys.physics.spice._device import SpiceDevice
from metaphys.physics.spice._elements import (
    Amplifier,
    Bipolar,
    Capacitor,
    CurrentSource,
    Diode,
    Element,
    Inductor,
    Mosfet,
    Resistor,
    VoltageSource,
)
from metaphys.physics.spice._model import Model
from metaphys.physics.spice._netlist import Netlist

__all__ = [
    "Amplifier",
    "Bipolar",
    "Capacitor",
    "CurrentSource",
    "Diode",
    "Element",
    "Inductor",
    "Model",
    "Mosfet",
    "Netlist",
    "Resistor",
    "SpiceDevice",
    "VoltageSource",
]
