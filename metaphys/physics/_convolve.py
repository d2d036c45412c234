"""Causal convolution: the response of what is linear and does not change in time."""

from __future__ import annotations

import torch
from torch import Tensor


def convolve(kernel: Tensor, signal: Tensor) -> Tensor:
    """The first L samples of ``kernel`` (..., L) ∗ ``signal`` (..., N), by one FFT."""
    length = kernel.shape[-1]
    size = _fast(length + signal.shape[-1] - 1)
    spectrum = torch.fft.rfft(kernel, size) * torch.fft.rfft(signal, size)
    return torch.fft.irfft(spectrum, size)[..., :length]


def _fast(size: int) -> int:
    """The least even size >= ``size`` without prime factors above 5."""
    size += size % 2
    while True:
        rest = size
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return size
        size += 2
