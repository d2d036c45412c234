"""How well a mean over seeds or units is known."""

from __future__ import annotations

import math
from collections.abc import Sequence

CONFIDENCE = 0.95


def half_interval(values: Sequence[float]) -> float | None:
    """Half the width of the 95 % interval of the mean, by Student's t; None for a single value.

    Example:
        >>> half_interval([1.0]) is None
        True
        >>> round(half_interval([1.0, 2.0, 3.0]), 3)
        2.484
    """
    if len(values) < 2:
        return None
    from scipy.stats import t  # Slow to import, so only when figures are wanted.

    mean = math.fsum(values) / len(values)
    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    quantile = float(t.ppf((1 + CONFIDENCE) / 2, len(values) - 1))
    return quantile * math.sqrt(variance / len(values))
