"""Where a device clips."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from torch import Tensor

from metaphys.physics.characterization._probe import Probe

SHARE = 0.02
"""Clipped: at least so many of the readouts lie at the extreme value, to within the noise."""


@final
@dataclass(frozen=True)
class Range:
    """The readouts of random drives of the full amplitude.

    Attributes:
        least: the least readout.
        greatest: the greatest.
        clips_low: the level that readouts are cut off at from below, or ``None``.
        clips_high: that from above.
    """

    least: float
    greatest: float
    clips_low: float | None
    clips_high: float | None


def readout_range(probe: Probe, sigma: float, drives: int = 32) -> Range:
    """Measure it.

    Random drives whose sign does not change within a sample in four reach further than white
    ones: half of these drives are held for four samples.
    """
    shapes = probe.white(drives, 4)
    held = shapes[::2, ::4].repeat_interleave(4, -1)[:, : shapes.shape[-1]]
    shapes[::2, : held.shape[-1]] = held
    found = probe.answer(shapes).flatten()
    low = _level(-found, sigma)
    high = _level(found, sigma)
    return Range(float(found.min()), float(found.max()), None if low is None else -low, high)


def _level(values: Tensor, sigma: float) -> float | None:
    """The level at which the greatest values pile up."""
    top, span = values.max(), float(values.max() - values.min())
    if span == 0.0:
        return None
    # The greatest of many noisy readouts of one level lies about 4 deviations above it.
    near = values[values >= top - max(8 * sigma, 1e-6 * span)]
    if len(near) < SHARE * len(values):
        return None
    level = near.median()
    # A pile-up is symmetric about its level and as narrow as the noise; a tail is neither.
    width = float((near - level).abs().median())
    return float(level) if width <= max(sigma, 1e-6 * span) else None
