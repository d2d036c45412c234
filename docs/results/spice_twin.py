"""Twins of circuits in ngspice from one waveform: ``spice-twin.json``.

Run as ``python docs/results/spice_twin.py``; it needs ngspice. A unit has components of 5 %, a
current gain of ± 30 % and an unknown temperature from −20 to 60 °C; it is measured once, with 1 %
of noise, and its twin is judged on fresh drives against readouts without noise. What a unit gave is
stored at once; a stopped script goes on where it was.
"""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import tyro

from metaphys._runs._environment import environment
from metaphys.physics import (
    Circuit,
    CircuitMismatch,
    CircuitSpread,
    SpiceDevice,
    calibrate,
    circuit_netlist,
    nrmse,
    random_drives,
)
from metaphys.training._draws import TEST_UNITS, generator

HERE = Path(__file__).parent
FRESH, HIGH, NOISE = 20, 2.0, 0.01
COLDEST, HOTTEST, ROOM = -20.0, 60.0, 27.0
STEPS = {"2 steps": 2, "until it is flat": 30}
SPREAD = CircuitSpread(Is=0.0)
COMBINATIONS: dict[str, Callable[[dict[str, float]], float]] = {
    "L C": lambda of: of["L"] * of["C"],
    "R C": lambda of: of["R"] * of["C"],
    "Rb / R": lambda of: of["Rb"] / of["R"],
    "L": lambda of: of["L"],
    "R": lambda of: of["R"],
}
"""The first three can be told; L and R alone only up to a common scale of the impedances."""


def drawn(seed: int) -> Circuit:
    """The circuit of a unit."""
    unit: Any = SPREAD.single(Circuit(), seed)
    share = float(torch.rand((), generator=generator("temperature", seed), dtype=torch.float64))
    offset = torch.tensor(COLDEST + share * (HOTTEST - COLDEST) - ROOM)
    return unit.with_mismatch(dataclasses.replace(unit.mismatch, temperature=offset))


def expected() -> tuple[Circuit, dict[str, torch.Tensor]]:
    """The circuit at the prior's mean, and the prior's deviations: those of uniform errors."""
    mean = torch.tensor((COLDEST + HOTTEST) / 2 - ROOM)
    half = {f.name: getattr(SPREAD, f.name) for f in dataclasses.fields(SPREAD)}
    half |= {"temperature": (HOTTEST - COLDEST) / 2}
    deviations = {n: torch.tensor(h / math.sqrt(3)) for n, h in half.items() if h > 0}
    return Circuit(mismatch=CircuitMismatch(temperature=mean)), deviations


def combinations(unit: Circuit, twin: Circuit) -> dict[str, float]:
    """How far off a twin is in what voltages tell of the components, and in two of them alone.

    Voltages leave a common factor of all resistances, L and 1/C open. R is all that is in series
    with L. The logarithm of the twin's to the unit's.
    """
    ours, theirs = components(twin), components(unit)
    return {label: math.log(of(ours) / of(theirs)) for label, of in COMBINATIONS.items()}


def components(circuit: Circuit) -> dict[str, float]:
    """In Ω, H and F; R is R1 + RL."""
    nominal, mismatch = circuit.components, circuit.mismatch
    found = {
        name: getattr(nominal, name) * (1 + float(getattr(mismatch, name) or 0))  # None: none
        for name in ("R1", "RL", "Rb", "L", "C")
    }
    return found | {"R": found["R1"] + found["RL"]}


def judge(seed: int) -> dict[str, Any]:
    """Errors of one unit's twins on fresh drives, as parts of the readouts, and of components."""
    unit = drawn(seed)
    netlist, temperature = circuit_netlist(unit)
    device = SpiceDevice(netlist, temperature=temperature, processes=1)
    nominal, prior = expected()
    drives = random_drives(device.ports, 1, low=-HIGH, high=HIGH, seed=seed)
    fresh = random_drives(device.ports, FRESH, low=-HIGH, high=HIGH, seed=seed + 1_000_000)
    readout, clean = device.measure(drives, {}), device.measure(fresh, {})
    noise = NOISE * float(readout.square().mean().sqrt())
    white = torch.randn(readout.shape, generator=generator("noise", seed), dtype=torch.float64)
    noisy = readout + noise * white.to(readout)
    found: dict[str, Any] = {
        "uncalibrated": nrmse(nominal(fresh, {}), clean),
        "off": {"uncalibrated": combinations(unit, nominal)},
    }
    for name, steps in STEPS.items():
        fitted = calibrate(nominal, drives, noisy, prior=prior, noise=noise, steps=steps)
        found[name] = nrmse(fitted.twin(fresh, {}), clean)
        found["off"][name] = combinations(unit, fitted.twin)
    return found


def main(units: int = 20, runs: Path = Path("runs")) -> None:
    """Judge what is left, and store what there is.

    Args:
        units: how many held-out units.
        runs: where a row for each unit is kept.
    """
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    file = runs / "spice-twin" / "rows.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    for unit in range(TEST_UNITS + len(rows), TEST_UNITS + units):
        began = time.perf_counter()
        row = {"unit": unit, **judge(unit), "seconds": round(time.perf_counter() - began, 1)}
        rows.append(row)
        with file.open("a") as opened:
            opened.write(json.dumps(row) + "\n")
        print(row, flush=True)
    (HERE / "spice-twin.json").write_text(json.dumps(stored(rows), indent=2) + "\n")


def stored(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The result of some units."""
    kinds = ("uncalibrated", *STEPS)
    by = {kind: [row[kind] for row in rows] for kind in kinds}
    values = by["2 steps"]
    facts = environment()
    return {
        "experiment": "spice-twin",
        "command": "python docs/results/spice_twin.py",
        "commit": facts.get("revision", "unknown"),
        "torch": torch.__version__,
        "seeds": [0],
        "units": [row["unit"] for row in rows],
        "metric": "error |f(x) - y| / |y| of twins of circuits in ngspice on fresh drives, "
        f"from one waveform with {NOISE:.0%} noise, two steps",
        "values": values,
        "mean": statistics.fmean(values),
        "median": statistics.median(values),
        "worst": max(values),
        "published": None,
        "baselines": {
            name: value
            for kind in kinds
            for name, value in (
                (f"{kind}, median", statistics.median(by[kind])),
                (f"{kind}, worst", max(by[kind])),
            )
            if name != "2 steps, median"
        },
        "components": {
            kind: {
                label: math.sqrt(statistics.fmean(row["off"][kind][label] ** 2 for row in rows))
                for label in COMBINATIONS
            }
            for kind in kinds
        },
        "physical_parameters": len(expected()[1]),
        "digital_parameters": 0,
        "seconds": round(math.fsum(row["seconds"] for row in rows), 1),
    }


if __name__ == "__main__":
    tyro.cli(main)
