"""How data become a drive: element by element, within the range of the device."""

from __future__ import annotations

import torch
from torch import Tensor

from metaphys._errors import check
from metaphys.physics._encoding import check_range, limited


def encode(
    x: Tensor,
    scale: float | Tensor = 1.0,
    offset: float | Tensor = 0.0,
    *,
    low: float | None = None,
    high: float | None = None,
) -> Tensor:
    """``clamp(scale * x + offset, low, high)``, element by element.

    Args:
        x: (..., n).
        scale: a number, or a tensor that broadcasts against ``x``; drive units per unit of ``x``.
        offset: likewise, in drive units.
        low: the least drive that the device takes, in drive units; ``None`` for no limit.
        high: the greatest.

    Returns:
        (..., n). Where it is clamped its derivative is zero.

    Raises:
        ValueError: ``low`` >= ``high``.

    Source: the layers of Wright, Onodera et al., Nature 601, 549 (2022), Methods.

    Example:
        >>> encode(torch.tensor([0.0, 0.5, 1.0]), 2.0, -0.5, low=0.0, high=1.0)
        tensor([0.0000, 0.5000, 1.0000])
    """
    check_range(low, high)
    return limited(scale * x + offset, low, high)


def pad(x: Tensor, size: int) -> Tensor:
    """Zeros behind the last dimension of ``x`` (..., n), up to (..., ``size``).

    Raises:
        ValueError: n > ``size``.

    Example:
        >>> pad(torch.tensor([1.0, 2.0]), 3)
        tensor([1., 2., 0.])
    """
    missing = size - x.shape[-1]
    expected = f"of shape (..., n), n <= {size}"
    check(missing >= 0, "x", expected=expected, got=tuple(x.shape))
    return torch.nn.functional.pad(x, (0, missing)) if missing else x
