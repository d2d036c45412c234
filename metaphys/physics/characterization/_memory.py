"""How long a device remembers."""

from __future__ import annotations

import math

import torch
from torch import Tensor

FORGOTTEN = -20.0  # dB
FLOOR = -35.0  # dB: where the fit of the decay ends, or 10 dB above the noise


def decay(kernel: Tensor, deviation: Tensor) -> tuple[float | None, Tensor]:
    r"""The time constant of the energy of an impulse response, in samples.

    By Schroeder's backward integral, E(n) = Σ_{k ≥ n} h_k², whose logarithm falls as −n/τ; the
    line is fitted between −5 and −35 dB. An RLC circuit has τ = Q/ω0.

    Source: M. R. Schroeder, J. Acoust. Soc. Am. 37, 409 (1965); the range is ISO 3382's T30.

    Args:
        kernel: h (L,).
        deviation: the standard error (L,) of each of its elements.

    Returns:
        τ, and E in dB of the whole (L,). τ is 0 for a device without memory, and ``None`` where
        the energy has not fallen by 20 dB at nine tenths of the kernel.
    """
    # Late lags are seen by few pairs of drive and readout.
    seen = deviation <= 2 * deviation.min() + torch.finfo(kernel.dtype).tiny
    kernel, deviation = kernel[seen], deviation[seen]
    energy = kernel.square() - deviation.square()
    remaining = energy.flip(0).cumsum(0).flip(0).clamp_min(0.0)
    whole = remaining[0].clamp_min(torch.finfo(kernel.dtype).tiny)
    level = 10 * torch.log10((remaining / whole).clamp_min(1e-30))
    # What is left of the noise's energy after its mean is taken out.
    noise = float((2 * deviation.pow(4).sum()).sqrt() / whole)
    floor = max(FLOOR, 10 * math.log10(max(noise, 1e-30)) + 10)
    peak = int(kernel.abs().argmax())
    inside = (level <= -5) & (level >= floor)
    inside[:peak] = False
    # The end of the record cuts the integral off: a kernel that goes on has its energy there too.
    late = level[len(level) * 9 // 10]
    if bool(late > max(FORGOTTEN, min(floor, FORGOTTEN / 2))):
        return None, level
    if int(inside.sum()) < 3:
        return 0.0, level
    n = inside.nonzero()[:, 0].double()
    x, y = n - n.mean(), level[inside] - level[inside].mean()
    slope = float((x * y).sum() / x.square().sum())
    return -10 / (math.log(10) * slope), level
