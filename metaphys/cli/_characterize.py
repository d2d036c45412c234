"""Characterizing a device: which one, what is printed, what is stored."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from metaphys._errors import check
from metaphys._runs._directory import writable_or_refuse
from metaphys._saving import write_atomically
from metaphys.cli._devices import named_device
from metaphys.physics import (
    SHG,
    Characterization,
    Circuit,
    CircuitSpread,
    Device,
    OscillatorArray,
    OscillatorSpread,
    Plate,
    PlateSpread,
    Population,
    SHGSpread,
)

BUILT_IN: dict[str, Callable[[], tuple[Any, Any]]] = {
    "circuit": lambda: (Circuit(guard=100), CircuitSpread()),
    "plate": lambda: (Plate(guard=196), PlateSpread()),
    "oscillators": lambda: (OscillatorArray(20), OscillatorSpread(coupling=0.5, gain=0.1)),
    "shg": lambda: (SHG(), SHGSpread(coupling=0.02, dk0=1.0)),
}
"""Simulated units by name: the nominal system, and how its units differ."""

RATES = {"circuit": 1e6, "plate": 192e3}
"""Of those that answer with a waveform, in Hz."""

FILES = ("characterization.json", "characterization.png")


def device_at(place: str, unit: int, noise: float) -> Device:
    """A simulated unit, or what a function of the user's own makes.

    Args:
        place: a name of :data:`BUILT_IN`, or ``module:name`` or ``file.py:name`` of a device or of
            a function without arguments that makes one.
        unit: the seed of a simulated unit.
        noise: of a simulated unit, in its readout's unit.

    Raises:
        ValueError: there is no such device, making it raised, or a number is out of range.
    """
    check(unit >= 0, "unit", expected="a seed >= 0", got=unit)
    check(0 <= noise < math.inf, "noise", expected=">= 0 and finite", got=noise)
    if place in BUILT_IN:
        system, spread = BUILT_IN[place]()
        return Population(system, spread, noise=noise).unit(unit)
    return named_device(place, f"one of {', '.join(BUILT_IN)}, or ")


def prepared(folder: Path, overwrite: bool) -> None:
    """Refuse a folder with results in it.

    Raises:
        FileExistsError: it has some, and ``overwrite`` is not given; or it is a file.
    """
    there = [name for name in FILES if (folder / name).exists()]
    text = "a folder without results"
    remedy = "Give --overwrite to replace them, or another --run-dir."
    fits, error = overwrite or not there, FileExistsError
    check(fits, "run_dir", expected=text, got=f"{folder}", remedy=remedy, error=error)
    fits = not folder.exists() or folder.is_dir()
    check(fits, "run_dir", expected="a folder", got=f"the file {folder}", error=error)


@contextmanager
def results_in(folder: Path) -> Iterator[None]:
    """A folder that results can be put into, seen to before anything is measured.

    What fails leaves no empty folder behind.

    Raises:
        OSError: it cannot be made or written to.
    """
    there = folder.exists()
    writable_or_refuse(folder)
    try:
        yield
    finally:
        if not there:
            with suppress(OSError):  # it holds results
                folder.rmdir()


def store(folder: Path, found: Characterization) -> None:
    """Write figures and picture."""
    from metaphys._runs._drawing import rendered
    from metaphys.cli._characterize_picture import picture

    values = json.dumps(found.to_json(), indent=2) + "\n"
    write_atomically(folder / FILES[0], values.encode())
    write_atomically(folder / FILES[1], rendered(picture(found), "png"))


def lines(found: Characterization) -> Iterator[tuple[str, str, str]]:
    """Quantity, value, and what it means."""
    noise, limits = found.repeatability, found.range
    snr = f"{noise.snr:.1f} dB" if math.isfinite(noise.snr) else "repeats to the last bit"
    yield "SNR", snr, f"noise {noise.sigma:.3g}, signal {noise.signal:.3g} (rms)"
    yield "readouts", f"{limits.least:.3g} to {limits.greatest:.3g}", _clips(found)
    yield "nonlinear part", f"{100 * found.linear.residual:.2f} %", "beyond the best linear map"
    if found.rate is not None:
        yield from _times(found, found.rate)
    yield "device calls", f"{found.calls:,}", ""


def _times(found: Characterization, rate: float) -> Iterator[tuple[str, str, str]]:
    def time(samples: float | None) -> str:
        return "" if samples is None else f"{1e6 * samples / rate:.4g} µs"

    seen = found.delay is not None
    yield "delay", f"{found.delay} samples" if seen else "no answer seen", time(found.delay)
    long = "longer than the record"
    memory = long if found.memory is None else f"{found.memory:.1f} samples"
    yield "memory (energy)", memory, time(found.memory)
    tone = found.tone
    if tone is not None:
        at = f"{tone.cycles} cycles at {tone.amplitudes[-1]:.3g}"
        yield "THD", f"{100 * tone.thd:.2f} %", at
        none = "not reached"
        value = none if tone.compression is None else f"{tone.compression:.3g}"
        yield "1 dB compression", value, "amplitude of the drive"
    if found.guard is not None and found.window is not None:
        first, last = found.window
        yield "proposed guard time", f"{found.guard} samples", time(found.guard)
        yield "proposed windows", f"samples {first} to {last}", "knows all of the drive"


def _clips(found: Characterization) -> str:
    levels = [
        level for level in (found.range.clips_low, found.range.clips_high) if level is not None
    ]
    return "clips at " + " and ".join(f"{x:.3g}" for x in levels) if levels else "no clipping seen"
