"""When an answer begins."""

from __future__ import annotations

import torch
from torch import Tensor

from metaphys.physics.characterization._probe import Probe

CERTAIN = 5.0
"""Standard errors above which a correlation is taken for more than chance."""


def delay(probe: Probe, drives: int = 16) -> tuple[int | None, Tensor]:
    """The least lag at which drive and readout are correlated beyond chance, in samples.

    The correlation of white drives with what they answer is the impulse response but for chance,
    which at K readouts of one lag has a standard error of 1/√K.

    Returns:
        The lag, ``None`` where there is no correlation, and the correlation coefficients (2 M − 1),
        from lag −(M − 1) on: what lies before 0 would be an answer before the question.
    """
    shapes = probe.white(drives, 3)
    answers = probe.answer(shapes)
    n, m = shapes.shape[-1], answers.shape[-1]
    size = n + m
    x = torch.fft.rfft(shapes - shapes.mean(), size)
    y = torch.fft.rfft(answers - answers.mean(0), size)
    products = torch.fft.irfft(x.conj() * y, size).sum(0)
    lags = torch.arange(-(n - 1), m)
    found = products[lags % size]
    pairs = torch.minimum(torch.minimum(lags + n, m - lags), torch.tensor(min(n, m)))
    scale = shapes.std() * (answers - answers.mean(0)).square().mean().sqrt()
    tiny = torch.finfo(scale.dtype).tiny
    coefficients = found / (drives * pairs * scale.clamp_min(tiny))
    # A lag that few pairs show is left out: its error is its own largest value.
    certain = (coefficients.abs() * (drives * pairs).sqrt() > CERTAIN) & (pairs > min(n, m) // 4)
    lag = int(lags[certain].min()) if bool(certain.any()) else None
    return lag, coefficients
