"""When an answer begins."""

from __future__ import annotations

import torch

from metaphys.physics.characterization._probe import Probe

CERTAIN = 5.0
"""Standard errors above which a correlation is taken for more than chance."""


def delay(probe: Probe, drives: int = 16) -> int | None:
    """The least lag at which drive and readout are correlated beyond chance, in samples.

    The correlation of white drives with what they answer is the impulse response but for chance,
    which at K readouts of one lag has a standard error of 1/√K.

    Returns:
        The lag, ``None`` where there is no correlation. One below 0 is an answer before the
        question: the two clocks do not start together.
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
    return int(lags[certain].min()) if bool(certain.any()) else None
