"""All measurements of a new device, and what follows from them for its use."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, final

import optree
import torch
from torch import Tensor

from metaphys._errors import check
from metaphys.physics._device import Device, check_device
from metaphys.physics.characterization._delay import delay
from metaphys.physics.characterization._linear import LinearMap, linear_map
from metaphys.physics.characterization._memory import decay
from metaphys.physics.characterization._probe import Probe
from metaphys.physics.characterization._range import Range, readout_range
from metaphys.physics.characterization._repeatability import Repeatability, repeatability
from metaphys.physics.characterization._tone import Tone, tone

MOST = 60.0  # dB: energy below this is forgotten, however quiet the device is


@final
@dataclass(frozen=True)
class Characterization:
    """What :func:`characterize` found; times are in samples.

    Attributes:
        calls: device calls that it took.
        rate: samples a second, in Hz; ``None`` where the drive is no waveform, and then so are the
            delay, the memory, the tone and what is proposed.
        repeatability: noise and signal.
        range: readouts, and where they are cut off.
        linear: the best linear map, and the part that it does not explain.
        delay: from the drive to the first of its answer; ``None`` where none is seen.
        memory: time constant of the energy of the impulse response, Q/ω0 for a resonance;
            ``None`` where it is longer than the record.
        energy: remaining energy of the impulse response (L,), in dB.
        tone: distortion of a sine; ``None`` where the drive is too short for a steady one.
        guard: samples of silence that are proposed between one drive and the next: delay, and the
            time until what is left is below the noise.
        window: the first and last + 1 sample after which, and before which, a readout knows all of
            the drive and is above the noise.
    """

    calls: int
    rate: float | None
    repeatability: Repeatability
    range: Range
    linear: LinearMap
    delay: int | None = None
    memory: float | None = None
    energy: Tensor | None = None
    tone: Tone | None = None
    guard: int | None = None
    window: tuple[int, int] | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values; infinities are ``None``."""

        def plain(value: Any) -> Any:
            if isinstance(value, Tensor):
                return [plain(each) for each in value.tolist()]
            if isinstance(value, dict):
                return {name: plain(each) for name, each in value.items()}
            if isinstance(value, (list, tuple)):
                return [plain(each) for each in value]
            return None if isinstance(value, float) and not math.isfinite(value) else value

        return plain(dataclasses.asdict(self))


def characterize(
    device: Device,
    *,
    low: float = -1.0,
    high: float = 1.0,
    rate: float | None = None,
    controls: Any = None,
    seed: int = 0,
) -> Characterization:
    """Measure what must be known of a device before a network is made of it.

    Args:
        device: one unit.
        low: the least drive that may be played, in its unit.
        high: the greatest.
        rate: samples a second of drive and readout, in Hz; ``None`` where they are no waveforms.
        controls: those to measure under; all zero by default.
        seed: of the drives.

    Raises:
        TypeError: ``device`` is none.
        ValueError: a fleet, ``low`` >= ``high``, ``rate`` <= 0, any of them not finite, or a seed
            out of range.
        RuntimeError: a readout is not finite.

    Example:
        >>> from metaphys.physics import Circuit, SimulatedDevice
        >>> found = characterize(SimulatedDevice(Circuit(guard=100)), low=-0.3, high=0.3, rate=1e6)
        >>> found.delay, round(found.memory, 1), round(found.linear.residual, 4)
        (1, 9.7, 0.0)
    """
    check_device(device)
    remedy = "Characterize its units one after the other."
    check(not device.units, "device", expected="one unit", got=device.units, remedy=remedy)
    for name, value in {"low": low, "high": high}.items():
        check(math.isfinite(value), name, expected="finite", got=value)
    check(low < high, "low", expected=f"< high = {high}", got=low)
    fits = rate is None or 0 < rate < math.inf
    check(fits, "rate", expected="> 0 (Hz) and finite, or None", got=rate)
    check(0 <= seed < 2**50, "seed", expected="from 0 to 2**50 - 1", got=seed)
    probe = Probe(device, _controls(device, controls), low, high, seed)
    before = device.calls
    noise = repeatability(probe)
    bad = "values that are not"
    finite = math.isfinite(noise.sigma) and math.isfinite(noise.signal)
    check(finite, "readout", expected="finite", got=bad, error=RuntimeError)
    limits = readout_range(probe, noise.sigma)
    linear = linear_map(probe, noise.sigma, waveform=rate is not None)
    found: dict[str, Any] = {}
    if rate is not None and linear.kernel is not None:
        found = _in_time(probe, linear, noise)
    return Characterization(device.calls - before, rate, noise, limits, linear, **found)


def _controls(device: Device, controls: Any) -> Any:
    if controls is not None:
        return optree.tree_map(lambda control: control.double(), controls)

    def is_shape(node: Any) -> bool:
        return isinstance(node, tuple) and all(isinstance(size, int) for size in node)

    shapes = device.ports.controls
    return optree.tree_map(
        lambda shape: torch.zeros(shape, dtype=torch.float64), shapes, is_leaf=is_shape
    )


def _in_time(probe: Probe, linear: LinearMap, noise: Repeatability) -> dict[str, Any]:
    assert linear.kernel is not None and linear.deviation is not None
    lag = delay(probe)
    memory, energy = decay(linear.kernel, linear.deviation)
    found = {
        "delay": lag,
        "memory": memory,
        "energy": energy,
        "tone": tone(probe, linear.kernel, memory),
    }
    if lag is None or memory is None:
        return found
    # Energy falls by SNR in τ ln 10^(SNR / 10).
    rest = math.ceil(memory * math.log(10) * min(max(noise.snr, 0.0), MOST) / 10)
    guard, n = max(lag, 0) + rest, probe.device.ports.drive
    return {**found, "guard": guard, "window": (n - 1 + max(lag, 0), n + guard)}
