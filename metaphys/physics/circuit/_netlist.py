"""The circuit as a netlist: ngspice's own model of the transistor on the same components."""

from __future__ import annotations

import torch

from metaphys._errors import check
from metaphys.physics.circuit._circuit import Circuit
from metaphys.physics.circuit._parameters import values
from metaphys.physics.spice import (
    Bipolar,
    Capacitor,
    Element,
    Inductor,
    Model,
    Netlist,
    Resistor,
    VoltageSource,
)

REST_OF_2N3904 = {
    "Vaf": 74.03,
    "Ikf": 66.78e-3,
    "Nc": 2.0,
    "Cjc": 3.638e-12,
    "Mjc": 0.3085,
    "Vjc": 0.75,
    "Fc": 0.5,
    "Cje": 4.493e-12,
    "Mje": 0.2593,
    "Vje": 0.75,
    "Tr": 239.5e-9,
    "Tf": 301.2e-12,
    "Itf": 0.4,
    "Vtf": 4.0,
    "Xtf": 2.0,
}
"""What the public card of the 2N3904 has beyond :class:`Transistor`: Early effect, charges …"""


def circuit_netlist(circuit: Circuit) -> tuple[Netlist, float]:
    """The netlist of one unit, for :class:`SpiceDevice`, and its temperature in K.

    The transistor keeps what its model in :class:`Circuit` leaves out, with the 2N3904's values:
    charges, Early effect and high injection are an honest gap between the device and its twin.

    Args:
        circuit: one unit, nominal or with a mismatch.

    Raises:
        ValueError: ``circuit`` is a fleet, or has an amplifier, which the netlist leaves out.

    Example:
        >>> netlist, temperature = circuit_netlist(Circuit())
        >>> netlist.lines()[2], temperature
        ('RL a b 3.0', 300.15)
    """
    expected, remedy = "one unit", "Make a device of each unit."
    check(not circuit.units, "circuit", expected=expected, got=circuit, remedy=remedy)
    given = circuit.mismatch.given()
    bare = not {"source", "reading"} & given.keys()
    check(bare, "circuit", expected="one without amplifiers", got=list(given))
    parts = circuit.components
    found = values(parts, circuit.mismatch, torch.float64, torch.device("cpu"))
    v = {name: float(value) for name, value in found.items()}
    elements: list[Element] = [
        Resistor("1", "in", "m", v["R1"]),
        Inductor("1", "m", "a", v["L"]),
        *([Resistor("L", "a", "b", v["RL"])] if v["RL"] else [VoltageSource("L", "a", "b", 0.0)]),
        Capacitor("1", "b", "0", v["C"]),
    ]
    npn = parts.transistor
    if npn is None:
        return Netlist(elements, drive="in", readout="b"), v["temperature"]
    elements += [
        Resistor("b", "b", "bb", v["Rb"]),
        Bipolar("1", "c", "bb", "0", "npn1"),
        Resistor("c", "vcc", "c", v["Rc"]),
        VoltageSource("cc", "vcc", "0", parts.Vcc),
    ]
    own = {"Br": npn.Br, "Ne": npn.Ne, "Rb": npn.rb, "Rc": npn.rc}
    own |= {"Is": v["Is"], "Ise": npn.Ise * v["Is"] / npn.Is, "Bf": v["Bf"]}
    own |= {"Eg": npn.Eg, "Xti": npn.Xti, "Xtb": npn.Xtb}
    models = [Model("npn1", "NPN", {**own, **REST_OF_2N3904})]
    node = "b" if circuit.readout == "base" else "c"
    return Netlist(elements, models, drive="in", readout=node), v["temperature"]
