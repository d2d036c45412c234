"""Store what three layers of a circuit in ngspice reach on vowels: ``spice-vowels.json``.

Run as ``python docs/results/spice_vowels.py VOWELS`` with the folder of ``vowdata.dat``; ngspice
must be installed. A network is trained in silico, on the nominal circuit; what it reaches there,
and moved to a unit, are baselines. From there it is trained on the unit, circuits in ngspice, by
physics-aware training, with the nominal circuit as the twin.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import torch
from _rows import HERE, Row, accuracy, fit, linear, scaled
from _stack import Stack

from metaphys.data import Dataset, vowels
from metaphys.nn import run_on
from metaphys.physics import (
    Circuit,
    CircuitSpread,
    PhysicsAware,
    Population,
    SimulatedDevice,
    SpiceDevice,
    System,
    WithNoise,
    circuit_netlist,
    nrmse,
)
from metaphys.training.unit._wire import Wire

LAYERS, CLASSES = 3, 7
SAMPLES = 12 * CLASSES  # all twelve formants within 12 us, once before the reading of each class
SLOTS = torch.arange(SAMPLES) % 12
PICKS = range(11, SAMPLES, 12)
SPREAD = CircuitSpread(L=0.5, C=0.5)  # resistors 5 %, the transistor 30 % as by default
SNR = 34.0  # dB: the readings' deviation over random drives to that of their noise
EXACT = 0  # the seed that the exact gradient is shown for
UNIT = 20_000  # the unit of seed 0
BATCH, STEPS, STEPS_ON_UNIT = 50, 200, 40
LR, LR_ON_UNIT, SMOOTHING = 0.05, 0.02, 0.0
SUBSTEPS = 5  # of ngspice in a sample: 0.4 % from the circuit here, and twice as fast as 10
TWIN = Circuit(samples=SAMPLES)


def network(system: System, seed: int) -> Stack:
    """The network with its first drives."""
    return Stack(
        system,
        SLOTS,
        PICKS,
        layers=LAYERS,
        limits=(-2.0, 2.0),
        spread=0.6,
        power=True,
        generator=torch.Generator().manual_seed(seed),
    )


def circuits(seed: int) -> list[Circuit]:
    """One unit, a circuit for each layer."""
    units = [Population(TWIN, SPREAD, key=f"layer {n}").unit(UNIT + seed) for n in range(LAYERS)]
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


def gaps(seed: int) -> list[float]:
    """The twin's error on each layer of a unit, relative to the readings' deviation."""
    uniform = torch.rand(10, SAMPLES, generator=torch.Generator().manual_seed(1))
    drives = 4 * uniform - 2
    answers = [in_ngspice(each).measure(drives, {}) for each in circuits(seed)]
    return [round(nrmse(TWIN(drives, {}), answer), 3) for answer in answers]


def train(data: Dataset, seed: int, split: int) -> dict[str, float]:
    """Accuracies of one split on one unit, by method."""
    known, test = scaled(data.train, data.test, -1.0, 1.0)
    given: dict[str, Any] = {"batch": BATCH, "smoothing": SMOOTHING}
    wire, net = network(Wire(TWIN.ports), seed), network(TWIN, seed)
    fit(wire, known, steps=STEPS, lr=LR, **given)
    fit(net, known, steps=STEPS, lr=LR, **given)
    start = {name: value.clone() for name, value in net.state_dict().items()}
    found = {
        "linear classifier": linear(known, test),
        "physics removed": accuracy(wire, test),
        "in silico": accuracy(net, test),
    }
    unit, sigma = circuits(seed), net.deviation * 10 ** (-SNR / 20)
    bare = [in_ngspice(each) for each in unit]
    twins: dict[str, list[Circuit]] = {"PAT": [TWIN] * LAYERS}
    if seed == EXACT:
        # No one has the gradient of ngspice: that of the same circuit in this package is near.
        twins[f"gradient of the unit's own circuit, seed {EXACT}"] = unit
    for method, models in twins.items():
        devices = [WithNoise(each, sigma, seed=100 * split + n) for n, each in enumerate(bare)]
        net.load_state_dict(start)
        with run_on(net, *map(PhysicsAware, devices, models)):
            found["in silico, moved to the unit"] = accuracy(net, test)
            fit(net, known, steps=STEPS_ON_UNIT, lr=LR_ON_UNIT, **given)
            found[method] = accuracy(net, test)
    return found


def main() -> None:
    """Run, store, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path, help="the folder of vowdata.dat")
    parser.add_argument("--seed", type=int, nargs="+", default=[0, 1, 2], help="of unit and start")
    parser.add_argument("--splits", type=int, default=1, help="for each seed, of its own")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    physical, digital = network(TWIN, 0).counted()
    seeds = " ".join(map(str, chosen.seed))
    head = {
        "experiment": "spice-vowels",
        "command": f"python docs/results/spice_vowels.py VOWELS --seed {seeds} "
        f"--splits {chosen.splits}",
        "metric": "test accuracy on the unit in ngspice, stratified splits 175/84, "
        f"{chosen.splits} of its own for each seed",
        "published": None,
        "physical_parameters": physical,
        "digital_parameters": digital,
        "notes": notes(chosen.seed),
    }
    row = Row(head, folder=HERE)
    for number in range(chosen.splits):
        for seed in chosen.seed:
            split = chosen.splits * seed + number
            data = vowels(chosen.root, seed=split, dtype=torch.float32)
            row.run(seed, split, partial(train, data, seed, split))


def notes(seeds: list[int]) -> list[str]:
    """What has to be known beside the figures."""
    errors = "; ".join(f"{seed}: {', '.join(map(str, gaps(seed)))}" for seed in seeds)
    return [
        f"Mismatch: {SPREAD} on circuits whose transistor is ngspice's; SNR {SNR:g} dB. "
        f"NRMSE of the twin by seed and layer: {errors}.",
        f"{STEPS} steps of {BATCH} samples in silico, then {STEPS_ON_UNIT} on the unit. A seed is "
        f"a unit (number {UNIT} + seed), first drives, noise and splits. Formants are scaled by "
        "the training set alone.",
        f"The twin is the nominal circuit. ngspice takes {SUBSTEPS} steps in each of "
        f"{SAMPLES} samples of 1 us, {LAYERS} layers one after the other.",
        "Layers, rates and steps were chosen on splits with seeds from 1000 on, with simulated "
        "units.",
    ]


if __name__ == "__main__":
    main()
