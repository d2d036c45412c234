"""Characterization: every figure on a device whose answer is known."""

# Misuse is tested here.
# pyright: reportArgumentType=false, reportOptionalMemberAccess=false

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from metaphys.physics import (
    Circuit,
    Components,
    Device,
    OscillatorArray,
    Ports,
    SimulatedDevice,
    WithNoise,
    characterize,
)


class Bench(Device):
    """A memoryless law behind a delay."""

    def __init__(self, law=lambda x: x, *, delay=0, samples=100, guard=20):
        self.law, self.delay = law, delay
        self.ports = Ports(samples, {}, samples + guard)

    def _read(self, drive, controls):
        long = torch.nn.functional.pad(drive, (self.delay, self.ports.readout))
        return self.law(long[..., : self.ports.readout])


@pytest.mark.parametrize("sigma", [1e-3, 0.1])
def test_noise_and_snr(sigma):
    found = characterize(WithNoise(Bench(), sigma, seed=3), rate=1e6)
    # 4 drives, 120 readouts, 15 degrees of freedom each: 1/√14400 = 0.8 %.
    assert found.repeatability.sigma == pytest.approx(sigma, rel=0.03)
    # White drives, uniform in ±1, in 100 of 120 samples.
    signal = math.sqrt(1 / 3 * 100 / 120)
    assert found.repeatability.signal == pytest.approx(signal, rel=0.05)
    expected = 20 * math.log10(signal / sigma)
    assert found.repeatability.snr == pytest.approx(expected, abs=0.7)
    # No more than noise is left of a linear device's readouts.
    assert found.linear.residual < 0.3 * sigma / signal + 1e-9


def test_a_device_that_repeats_has_no_noise():
    found = characterize(Bench(), rate=1e6)
    assert found.repeatability.sigma == 0.0 and found.repeatability.snr == math.inf
    assert json.loads(json.dumps(found.to_json()))["repeatability"]["snr"] is None


@pytest.mark.parametrize("sigma", [0.0, 0.05])
@pytest.mark.parametrize("delay", [0, 1, 17])
def test_the_delay_is_the_one_that_was_inserted(delay, sigma):
    device = WithNoise(Bench(lambda x: -0.5 * x + 3, delay=delay), sigma, seed=1)
    assert characterize(device, rate=1e6).delay == delay


def test_without_an_answer_there_is_no_delay():
    found = characterize(WithNoise(Bench(lambda x: 0 * x), 1.0), rate=1e6)
    assert found.delay is None and found.guard is None and found.window is None
    assert found.repeatability.snr < -10


@pytest.mark.parametrize("sigma", [0.0, 0.01])
@pytest.mark.parametrize(("low", "high"), [(None, 0.6), (-0.4, None), (-0.5, 0.7), (None, None)])
def test_clipping_is_seen_at_its_level(low, high, sigma):
    bottom, top = -9.0 if low is None else low, 9.0 if high is None else high
    device = WithNoise(Bench(lambda x: x.clamp(bottom, top), guard=0), sigma, seed=1)
    found = characterize(device, low=-1.0, high=1.0, rate=1e6).range
    for level, seen in ((low, found.clips_low), (high, found.clips_high)):
        if level is None:
            assert seen is None
        else:
            assert seen == pytest.approx(level, abs=max(sigma, 1e-9))
    assert found.greatest <= (high or 1.0) + 6 * sigma and found.least >= (low or -1.0) - 6 * sigma


def test_saturation_without_an_edge_is_no_clipping():
    found = characterize(Bench(lambda x: torch.tanh(2 * x)), rate=1e6)
    assert found.range.clips_low is None and found.range.clips_high is None
    assert found.linear.residual > 0.05


@pytest.mark.parametrize(("sigma", "rel"), [(0.0, 0.01), (0.01, 0.03), (0.05, 0.1)])
@pytest.mark.parametrize("quality", [1.5, 3.0, 8.0])
def test_the_memory_of_a_resonance_is_q_over_its_frequency(quality, sigma, rel):
    parts = Components().linear()
    total = math.sqrt(parts.L / parts.C) / quality
    parts = type(parts)(**{**vars(parts), "R1": total - parts.RL})
    circuit = Circuit(parts, samples=150, guard=150)
    tau = quality * math.sqrt(parts.L * parts.C) * circuit.rate  # Q / ω0, in samples
    device = WithNoise(SimulatedDevice(circuit), sigma, seed=2)
    found = characterize(device, rate=circuit.rate)
    # The energy of a ringing falls in steps of half a period: at Q = 1.5 these are 30 dB high.
    steps = 0.1 if quality < 2 else 0.03
    assert found.memory == pytest.approx(tau, rel=rel + steps)
    # The variance of 2400 readouts is known to 3 %, whose root is 0.2.
    assert found.linear.residual < 0.5 * sigma / found.repeatability.signal + 1e-9


def test_the_guard_time_lets_a_resonance_fall_to_the_noise():
    circuit = Circuit(Components().linear(), samples=150, guard=150)
    found = characterize(WithNoise(SimulatedDevice(circuit), 0.01, seed=2), rate=1e6)
    assert found.window is not None and found.delay is not None and found.guard is not None
    first, last = found.window
    assert first == 149 + found.delay and last == 150 + found.guard
    drive = torch.ones(150)
    ringing = circuit(drive, {})
    # By the SNR of random drives: a step that reaches higher is left with as much more.
    forgotten = 0.01 * float(ringing.abs().max()) / found.repeatability.signal
    assert ringing[last:].abs().max() < forgotten < ringing[first:last].abs().max()
    # After the first sample of the window every drive has had its say.
    late = torch.zeros(150)
    late[-1] = 1.0
    assert circuit(late, {})[first] != 0


def test_what_remembers_longer_than_its_record_is_said_to():
    integrator = Bench(lambda x: x.cumsum(-1), guard=0)
    found = characterize(integrator, rate=1e6)
    assert found.memory is None and found.guard is None and found.tone is None


def test_without_memory_the_guard_is_the_delay():
    found = characterize(WithNoise(Bench(delay=5), 1e-3), rate=1e6)
    assert found.memory == 0.0 and found.guard == 5 and found.window == (104, 105)


@pytest.mark.parametrize("cubic", [0.1, 0.3])
def test_distortion_and_compression_of_a_cubic_law(cubic):
    """X − b x³ of a sin: A_1 = a − 3 b a³/4, A_3 = b a³/4."""
    found = characterize(Bench(lambda x: x - cubic * x**3, guard=0), rate=1e6)
    first = 1 - 0.75 * cubic
    assert found.tone.thd == pytest.approx(0.25 * cubic / first, rel=1e-9)
    assert found.tone.gains[-1] == pytest.approx(first, rel=1e-9)
    compressed = math.sqrt((1 - 10 ** (-1 / 20)) / (0.75 * cubic))
    if compressed > 1:
        assert found.tone.compression is None
    else:
        assert found.tone.compression == pytest.approx(compressed, rel=1e-6)


def test_the_nonlinear_part_of_a_square_law():
    """Of c x + x², x uniform in ±1: the best line is c x + 1/3; x² − 1/3 has variance 4/45."""
    c = 2.0
    found = characterize(Bench(lambda x: c * x + x**2, guard=0, samples=400), rate=1e6)
    expected = math.sqrt((4 / 45) / (c**2 / 3 + 4 / 45))
    # 3200 fresh readouts of a bounded law: 2 %.
    assert found.linear.residual == pytest.approx(expected, rel=0.05)


def test_a_linear_mixture_that_is_no_waveform_is_linear(generator):
    class Mixer(Device):
        ports = Ports(drive=6, controls={"gain": (6,)}, readout=4)
        matrix = torch.randn(6, 4, generator=generator)

        def _read(self, drive, controls):
            return (drive * controls["gain"]) @ self.matrix + 1

    ones = {"gain": torch.ones(6)}
    found = characterize(Mixer(), controls=ones)
    assert found.linear.residual < 1e-7 and found.linear.kernel is None and found.delay is None
    assert characterize(Mixer()).repeatability.signal == 0.0  # controls at zero
    bent = characterize(SimulatedDevice(OscillatorArray(5)), low=-3.0, high=3.0)
    assert bent.linear.residual > 0.02


def test_calls_are_counted_and_drives_stay_in_range():
    seen = []

    class Watched(Device):
        ports = Ports(40, {}, 40)

        def _read(self, drive, controls):
            seen.append((float(drive.min()), float(drive.max())))
            return drive.numpy().astype(np.float32)

    device = Watched()
    found = characterize(device, low=2.0, high=5.0, rate=1e3)
    assert found.calls == device.calls > 0
    assert min(low for low, _ in seen) >= 2.0 and max(high for _, high in seen) <= 5.0


@pytest.mark.parametrize(
    ("change", "message", "error"),
    [
        ({"device": OscillatorArray(2)}, "a Device", TypeError),
        ({"low": 1.0}, "`low` must be < high = 1.0", ValueError),
        ({"rate": 0.0}, "`rate`", ValueError),
        ({"device": Bench(lambda x: x / 0 * 0)}, "finite", RuntimeError),
    ],
)
def test_what_cannot_be_characterized_is_refused(change, message, error):
    with pytest.raises(error, match=message):
        characterize(change.pop("device", Bench()), **change)


def test_an_answer_before_the_question_is_seen():
    class Early(Device):
        ports = Ports(100, {}, 100)

        def _read(self, drive, controls):
            return torch.nn.functional.pad(drive[..., 4:], (0, 4))

    assert characterize(Early(), rate=1e6).delay == -4
