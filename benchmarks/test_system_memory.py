"""Memory of long simulations with their gradient: every system at 625, 2,500 and 10,000 steps.

Each case runs in a process of its own, because the peak of a process never falls. Reported is the
peak above that of a short simulation, and how much of it drive, readout and the drive's gradient
are: these are as long as a waveform and grow with its samples whatever is done. Freed blocks are
returned to the system (MALLOC_MMAP_THRESHOLD_), so that what glibc keeps is not counted.

One case by hand: ``python benchmarks/test_system_memory.py SHG 2500``. All of them into files
(a minute): ``python benchmarks/test_system_memory.py docs/results/system-memory``.
"""

from __future__ import annotations

import itertools
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from metaphys.physics import System

STEPS = (625, 2500, 10_000)
BATCH = 64


def _oscillators(steps: int) -> System:
    from metaphys.physics import OscillatorArray

    return OscillatorArray(50, steps=steps, dt=0.01)


def _shg(steps: int) -> System:
    from metaphys.physics import SHG, PulseShaper, Spectrometer, TimeWindow

    optics: dict[str, Any] = {
        "shaper": PulseShaper(50, 6.0),
        "spectrometer": Spectrometer(50, 8.0),
        "window": TimeWindow(4.0, 64),
    }
    return SHG(**optics, steps=steps)


def _plate(stiffening: float) -> Callable[[int], System]:
    def make(samples: int) -> System:
        from metaphys.physics import Plate, PlateDesign

        return Plate(PlateDesign(modes=5, stiffening=stiffening), samples=samples)

    return make


def _circuit(samples: int) -> System:
    from metaphys.physics import Circuit

    return Circuit(samples=samples)


SYSTEMS: dict[str, Callable[[int], System]] = {
    "oscillators": _oscillators,
    "SHG": _shg,
    "Duffing-plate": _plate(1.5),
    "linear-plate": _plate(0.0),
    "circuit": _circuit,
}


def measure(name: str, steps: int) -> dict[str, float]:
    """Peak of this process in MiB above a short run, and processor seconds."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)

    def run(steps: int) -> int:
        system = SYSTEMS[name](steps)
        controls = system.init_controls()
        drive = torch.rand(BATCH, system.ports.drive, requires_grad=True)
        readout = system(drive, controls)
        (grad,) = torch.autograd.grad(readout.square().sum(), drive)
        assert bool(grad.isfinite().all())
        return 2 * drive.nbytes + readout.nbytes

    run(20)
    warm, begin = _peak(), time.process_time()
    ends = run(steps) - run(20)
    seconds = time.process_time() - begin
    return {"cpu_s": seconds, "above_MiB": _peak() - warm, "ends_MiB": ends / 2**20}


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def apart(name: str, steps: int) -> dict[str, float]:
    """:func:`measure` in a process of its own."""
    script = Path(__file__).resolve()
    out = subprocess.run(
        [sys.executable, str(script), name, str(steps)],
        check=True,
        capture_output=True,
        text=True,
        cwd=script.parents[1],
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"},
    )
    return json.loads(out.stdout.splitlines()[-1])


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("system", SYSTEMS)
def test_system_memory(benchmark, system: str, steps: int) -> None:
    benchmark.group = f"memory of {steps} steps"
    benchmark.extra_info.update(benchmark.pedantic(lambda: apart(system, steps), rounds=1))


def page(done: dict[str, list[float]]) -> str:
    """The table as Markdown: a row a system, and by how much four times the steps grow."""
    rows = []
    for name in SYSTEMS:
        above = [done[f"{name} {steps}"][1] for steps in STEPS]
        seconds, _, ends = done[f"{name} {STEPS[-1]}"]
        growth = [later / earlier for earlier, later in itertools.pairwise(above)]
        cells = [*(f"{each:.1f}" for each in above), *(f"{each:.1f}" for each in growth)]
        rows.append(f"| {' | '.join([name, *cells, f'{ends:.1f}', f'{seconds:.1f}'])} |")
    words = Path(__file__).with_name("system_memory.md").read_text(encoding="utf-8")
    return words.replace("ROWS", "\n".join(rows))


def main() -> None:
    """One case, or all of them into files."""
    if len(sys.argv) == 3:
        print(json.dumps(measure(sys.argv[1], int(sys.argv[2]))))
        return
    done = {
        f"{name} {steps}": [float(f"{value:.4g}") for value in apart(name, steps).values()]
        for name in SYSTEMS
        for steps in STEPS
    }
    command = "python benchmarks/test_system_memory.py docs/results/system-memory"
    columns = "processor seconds, MiB above a short run, MiB of drive, readout and gradient"
    found = {"command": command, "columns": columns, **done}
    Path(f"{sys.argv[1]}.json").write_text(json.dumps(found, indent=2) + "\n")
    Path(f"{sys.argv[1]}.md").write_text(f"{page(done)}\n`{command}`.\n")


if __name__ == "__main__":
    main()
