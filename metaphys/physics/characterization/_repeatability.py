"""How well a measurement repeats."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

from torch import Tensor

from metaphys.physics.characterization._probe import Probe


@final
@dataclass(frozen=True)
class Repeatability:
    """Some drives, each measured several times.

    Attributes:
        sigma: standard deviation of a readout from one repeat to another, in its unit.
        signal: root mean square of the readouts about their mean over time, without noise.
        snr: 20 log10(signal / sigma), in dB; infinite for a device that repeats to the last bit.
    """

    sigma: float
    signal: float
    snr: float


def repeatability(probe: Probe, drives: int = 4, repeats: int = 16) -> Repeatability:
    """Measure the noise: the pooled variance over repeats, right to 1/√(2 n) of itself."""
    shapes = probe.white(drives, 0)
    found = probe.answer(shapes.repeat(repeats, 1)).reshape(repeats, drives, -1)
    variance = float(found.var(0).mean())
    mean: Tensor = found.mean(0)
    about = mean - mean.mean()
    # The mean over repeats still holds the repeats' part of the noise.
    power = max(float(about.square().mean()) - variance / repeats, 0.0)
    sigma, signal = math.sqrt(variance), math.sqrt(power)
    snr = (
        20 * math.log10(signal / sigma) if sigma > 0 < signal else math.inf if signal else -math.inf
    )
    return Repeatability(sigma, signal, snr)
