"""Store what three layers of a circuit in ngspice reach on vowels: ``spice-vowels.json``.

Run as ``python docs/results/spice_vowels.py VOWELS`` with the folder of ``vowdata.dat``; ngspice
must be installed. A network is trained in silico, on the nominal circuit; what it reaches there,
and moved to a unit, are baselines. From there it is trained on the unit, circuits in ngspice, by
physics-aware training, with the nominal circuit as the twin. Nobody has the gradient of ngspice:
beside it stands that of the same circuit with the same mismatch in this package.
"""

from __future__ import annotations

import torch
from _vowels import Vowels

from metaphys.nn import FeatureNetwork
from metaphys.physics import (
    Circuit,
    CircuitSpread,
    Population,
    SimulatedDevice,
    SpiceDevice,
    System,
    circuit_netlist,
)
from metaphys.training._draws import TEST_UNITS

LAYERS, CLASSES = 3, 7
SAMPLES = 12 * CLASSES  # all twelve formants within 12 us, once before the reading of each class
SLOTS = torch.arange(SAMPLES) % 12
PICKS = range(11, SAMPLES, 12)
SPREAD = CircuitSpread(L=0.5, C=0.5)  # resistors 5 %, the transistor 30 % as by default
SUBSTEPS = 5  # of ngspice in a sample: 0.4 % from the circuit here, and twice as fast as 10
TWIN = Circuit(samples=SAMPLES)


def network(system: System, seed: int) -> FeatureNetwork:
    """The network with its first drives."""
    return FeatureNetwork(
        system,
        SLOTS,
        PICKS,
        layers=LAYERS,
        low=-2.0,
        high=2.0,
        spread=0.6,
        power=True,
        generator=torch.Generator().manual_seed(seed),
    )


def circuits(seed: int) -> list[Circuit]:
    """One unit, a circuit for each layer."""
    units = [
        Population(TWIN, SPREAD, key=f"layer {n}").unit(TEST_UNITS + seed) for n in range(LAYERS)
    ]
    return [each.system for each in units if isinstance(each, SimulatedDevice)]  # pyright: ignore


def in_ngspice(circuit: Circuit) -> SpiceDevice:
    """The circuit with a 2N3904 of ngspice."""
    netlist, temperature = circuit_netlist(circuit)
    return SpiceDevice(
        netlist,
        samples=SAMPLES,
        rate=circuit.rate,
        hold=circuit.hold,
        temperature=temperature,
        substeps=SUBSTEPS,
        copies=25,
        processes=1,
    )


EXPERIMENT = Vowels(
    experiment="spice-vowels",
    network=network,
    twin=TWIN,
    unit=lambda seed: [in_ngspice(each) for each in circuits(seed)],
    exact=circuits,
    gradient="gradient of this package's circuit with the unit's true components",
    hardware=(-2.0, 2.0),
    limits=(-1.0, 1.0),
    snr=34.0,
    batch=50,
    steps=200,
    steps_on_unit=40,
    lr=0.05,
    lr_on_unit=0.02,
    smoothing=0.0,
    apart=True,
    published=None,
    notes=(
        f"Mismatch: {SPREAD} on circuits in ngspice, whose transistor is its own.",
        "An exact gradient does not exist: ngspice has none. In its place stands the gradient of "
        "the nearest model that can be differentiated, this package's circuit with the unit's true "
        "components (0.4 % from ngspice), at readings that are ngspice's as for PAT.",
        f"ngspice takes {SUBSTEPS} steps in each of {SAMPLES} samples of 1 us, {LAYERS} layers "
        "one after the other.",
        "Layers, rates and steps were chosen on splits with seeds from 1000 on, with simulated "
        "units.",
    ),
)

if __name__ == "__main__":
    EXPERIMENT.main(__doc__, splits=2)
