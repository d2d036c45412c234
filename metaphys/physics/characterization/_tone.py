"""Distortion of a steady tone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from metaphys.physics.characterization._probe import Probe

HARMONICS = 5
LEVELS = 12
TRANSIENT = 0.01


@final
@dataclass(frozen=True)
class Tone:
    """Answers to a sine of rising amplitude.

    Attributes:
        cycles: periods of the sine within a drive.
        amplitudes: of the drive, in its unit, rising.
        gains: amplitude of the answer at the same frequency over that of the drive.
        thd: at the full amplitude, √(A_2² + … + A_5²) / A_1.
        compression: the amplitude at which the gain has fallen by 1 dB below that of small
            amplitudes, in the drive's unit; ``None`` where it does not.
    """

    cycles: int
    amplitudes: list[float]
    gains: list[float]
    thd: float
    compression: float | None


def tone(probe: Probe, kernel: Tensor, memory: float | None) -> Tone | None:
    """Measure it at the frequency that the device passes best.

    The second half of the drive's time is looked at, when the start has died away. ``None`` where
    it has not to 1 %, e^(−N / 4τ), and for drives of less than 32 samples.
    """
    n = probe.device.ports.drive
    if n < 32 or memory is None or math.exp(-n / (4 * max(memory, 1e-9))) > TRANSIENT:
        return None
    # At least 4 periods, so that 2 are looked at; the fifth harmonic below half the rate.
    cycles = torch.arange(4, max(5, n // (2 * HARMONICS + 2)))
    response = torch.fft.fft(kernel, n)[cycles].abs()
    best = int(cycles[response.argmax()])
    sine = torch.sin(2 * math.pi * best * torch.arange(n, dtype=torch.float64) / n)
    levels = torch.linspace(1 / LEVELS, 1, LEVELS, dtype=torch.float64)
    answers = probe.answer(levels.unsqueeze(-1) * sine)
    amplitudes = _harmonics(answers[:, n // 2 : n], best, n)
    drive = probe.amplitude * levels
    gains = amplitudes[:, 0] / drive
    top = amplitudes[-1]
    thd = float(top[1:].norm() / top[0].clamp_min(torch.finfo(top.dtype).tiny))
    return Tone(best, drive.tolist(), gains.tolist(), thd, _compression(drive, gains))


def _harmonics(answers: Tensor, cycles: int, n: int) -> Tensor:
    """Amplitudes (k, HARMONICS) by least squares on sines, cosines and an offset."""
    t = torch.arange(n // 2, n, dtype=torch.float64)
    phases = 2 * math.pi * cycles / n * torch.arange(1, HARMONICS + 1).unsqueeze(-1) * t
    basis = torch.cat([phases.sin(), phases.cos(), torch.ones_like(t).unsqueeze(0)])
    found = torch.linalg.lstsq(basis.mT, answers.mT).solution
    return torch.hypot(found[:HARMONICS], found[HARMONICS : 2 * HARMONICS]).mT


def _compression(drive: Tensor, gains: Tensor) -> float | None:
    """Where the gain crosses −1 dB of its limit for small amplitudes, a parabola in amplitude²."""
    # g = g0 + g2 a² through the two smallest amplitudes: an odd law has no other terms.
    (a, b), (f, g) = drive[:2].square().tolist(), gains[:2].tolist()
    small = f - (g - f) / (b - a) * a
    limit = small * 10 ** (-1 / 20)
    for before, after, low, high in zip(gains, gains[1:], drive, drive[1:]):
        if before > limit >= after:
            part = float((before - limit) / (before - after))
            squares = float(low) ** 2, float(high) ** 2
            return math.sqrt(squares[0] + part * (squares[1] - squares[0]))
    return None
