"""What the methods are called, in tables, pictures and sentences."""

from __future__ import annotations

import re
from collections.abc import Sequence

from metaphys.training._results import FULL as FULL

IN_SILICO, POPULATION, ANOTHER = "in silico", "population start", "another unit's"
START, OURS = "start alone", "recalibrated"
LINEAR = "linear classifier"
GAUSS_NEWTON = "Gauss-Newton"


def gauss_newton(draws: int) -> str:
    """The classical rival, whose descent may begin at the nearest of some draws.

    Example:
        >>> gauss_newton(0), gauss_newton(1000)
        ('Gauss-Newton', 'Gauss-Newton from 1000 draws')
    """
    return f"{GAUSS_NEWTON} from {draws} draws" if draws else GAUSS_NEWTON


def fine_tuning(start: str) -> str:
    """Fine-tuning from a start."""
    return f"{start} + fine-tuning"


def under(name: str, budgets: Sequence[int]) -> list[str]:
    """A method under each budget.

    Example:
        >>> under("recalibrated", (50, 250))
        ['recalibrated, 50 calls', 'recalibrated, 250 calls']
    """
    return [f"{name}, {budget} calls" for budget in budgets]


def family(name: str) -> str:
    """The method, whatever its budget.

    Example:
        >>> family("in silico + fine-tuning, 250 calls"), family("in silico")
        ('in silico + fine-tuning', 'in silico')
    """
    return re.sub(r", \d+ calls$", "", name)
