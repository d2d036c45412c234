"""The best linear map from drive to readout, and what it leaves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from metaphys.physics.characterization._probe import Probe

WAVEFORMS = 16
"""Drives from which the map of a waveform is fitted."""


@final
@dataclass(frozen=True)
class LinearMap:
    """The linear map that explains readouts of white drives best.

    Attributes:
        kernel: of a waveform, the impulse response (L,) per sample, in readout units for a drive of
            the full amplitude; ``None`` where the drive is no waveform.
        deviation: standard error (L,) of each element of the kernel, from noise and nonlinearity.
        residual: part of the readouts' root mean square that the map does not explain on fresh
            drives, noise taken out: 0 for a linear device.
    """

    kernel: Tensor | None
    deviation: Tensor | None
    residual: float


def linear_map(probe: Probe, sigma: float, *, waveform: bool) -> LinearMap:
    """Fit it by least squares, with an offset, and judge it on fresh drives.

    A waveform's map is a causal convolution that does not change in time, for which few drives are
    enough; else the map is a matrix, which takes 2 (N + 1) drives.
    """
    n, m = probe.device.ports.drive, probe.device.ports.readout
    count = WAVEFORMS if waveform else 2 * (n + 1)
    shapes, fresh = probe.white(count, 1), probe.white(8, 2)
    answers, judged = probe.answer(shapes), probe.answer(fresh)
    kernel = deviation = rows = None
    if waveform:
        rows = _with_offset(_lags(shapes, m))
        solution = torch.linalg.lstsq(rows, answers.reshape(-1, 1)).solution[:, 0]
        model = (_with_offset(_lags(fresh, m)) @ solution).reshape_as(judged)
        kernel = solution[:-1]
        own = (m + 1) / (count * m)
    else:
        solution = torch.linalg.lstsq(_with_offset(shapes), answers).solution
        model = _with_offset(fresh) @ solution
        own = (n + 1) / count
    about = judged - judged.mean()
    # What is not linear acts as noise on the fit too, which takes in as much of both as it has
    # parameters for each readout.
    unexplained = float((judged - model).square().mean()) / (1 + own)
    if rows is not None:
        deviation = unexplained**0.5 * torch.linalg.pinv(rows).norm(dim=-1)[:-1]
    left = unexplained - sigma**2
    total = max(float(about.square().mean()) - sigma**2, torch.finfo(torch.float64).tiny)
    return LinearMap(kernel, deviation, (max(left, 0.0) / total) ** 0.5)


def _lags(shapes: Tensor, readout: int) -> Tensor:
    """(n · M, M): for each instant, the drive that many samples before it."""
    delay = torch.arange(readout).unsqueeze(-1) - torch.arange(readout)
    padded = torch.nn.functional.pad(shapes, (0, max(readout - shapes.shape[-1], 0)))
    rows = torch.where(delay >= 0, padded[:, delay.clamp(min=0)], 0.0)
    return rows.flatten(0, 1)


def _with_offset(rows: Tensor) -> Tensor:
    return torch.cat([rows, rows.new_ones(len(rows), 1)], -1)
