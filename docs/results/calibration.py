"""Store what calibration reaches on simulated units: ``calibration.json``.

Run as ``python docs/results/calibration.py``. Every unit is drawn from the default spread of its
system (of the oscillators: as stated below), measured with noise, and its twin is judged on fresh
drives against the unit without noise.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from metaphys.physics import (
    Circuit,
    CircuitSpread,
    OscillatorArray,
    OscillatorSpread,
    Plate,
    PlateSpread,
    Population,
    Spread,
    System,
    calibrate,
    nrmse,
    random_drives,
)

HERE = Path(__file__).parent
UNITS = range(5)
FRESH = 20
SNR = 40.0  # dB, of each readout

SYSTEMS: Mapping[str, tuple[Any, Spread, float, int]] = {
    "circuit, 1 call": (Circuit(), CircuitSpread(), 2.0, 1),
    "plate, 4 calls": (Plate(), PlateSpread(), 1.0, 4),
    "plate, thickness within 1 %, 4 calls": (Plate(), PlateSpread(thickness=0.01), 1.0, 4),
    "20 oscillators, 50 calls": (
        OscillatorArray(20),
        OscillatorSpread(coupling=1.0, gain=0.1, gain_spread=0.05),
        2.0,
        50,
    ),
}
"""By name: nominal system, spread, amplitude of the drives, device calls to fit."""


def judge(system: Any, spread: Spread, high: float, calls: int) -> tuple[list[float], list[float]]:
    """Errors before and after, one a unit."""
    drives = random_drives(system.ports, calls, low=-high, high=high)
    fresh = random_drives(system.ports, FRESH, low=-high, high=high, seed=1)
    controls = system.init_controls(generator=torch.Generator().manual_seed(0))
    noise = float(system(fresh, controls).std()) * 10 ** (-SNR / 20)
    before, after = [], []
    for seed in UNITS:
        device = Population(system, spread, noise=noise).unit(seed)
        readouts = device.measure(drives, controls)
        assert device.calls == calls
        found = calibrate(system, drives, readouts, prior=spread, controls=controls, noise=noise)
        unit: System = spread.single(system, seed)  # pyright: ignore[reportAssignmentType]
        clean = unit(fresh, controls)
        before.append(nrmse(system(fresh, controls), clean))
        after.append(nrmse(found.twin(fresh, controls), clean))
    return before, after


def main() -> None:
    """Run, store, print."""
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    begin = time.perf_counter()
    result: dict[str, Any] = {
        "experiment": "NRMSE of a twin on fresh drives, before and after calibration",
        "command": "python docs/results/calibration.py",
        "torch": torch.__version__,
        "units": list(UNITS),
        "SNR of a readout, dB": SNR,
    }
    for name, problem in SYSTEMS.items():
        before, after = judge(*problem)
        for when, errors in (("before", before), ("after", after)):
            result[f"{name}: {when}, %"] = [round(100 * error, 3) for error in errors]
    result["seconds"] = round(time.perf_counter() - begin)
    (HERE / "calibration.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
