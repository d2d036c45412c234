"""How far a model is from measurements."""

from __future__ import annotations

from torch import Tensor


def nrmse(found: Tensor, expected: Tensor) -> float:
    """The normalised root-mean-square error |found − expected| / |expected|.

    Example:
        >>> import torch
        >>> nrmse(torch.tensor([3.0, 4.5]), torch.tensor([3.0, 4.0]))
        0.1
    """
    found, expected = found.detach().double(), expected.detach().double()
    return float((found - expected).norm() / expected.norm())
