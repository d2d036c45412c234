"""How far units drift, from what a filter believed of them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from metaphys._errors import check
from metaphys.physics._system import System
from metaphys.physics.twins._fields import Fields, Prior
from metaphys.physics.twins._filter_update import Belief


def learn_walk(system: System, prior: Prior, followed: Sequence[Belief]) -> dict[str, Tensor]:
    r"""The walk that explains what a filter believed of some units, interval after interval.

    .. math:: \text{walk}^2 = \langle (\mu_t - \mu_{t-1})^2 + P_t - P_{t-1} \rangle

    over intervals and units, with the means and variances after each update: a filter's mean moves
    by the variance that it was given minus that which is left. Where the filter ran with another
    walk than is found, run it with that and ask again.

    Source: R. K. Mehra, IEEE Trans. Autom. Control 15, 175 (1970): noise from innovations.

    Args:
        system: the nominal system.
        prior: that of the filter.
        followed: :attr:`DriftFilter.belief` after every update.

    Returns:
        By field, standard deviations of the walk, as :class:`DriftFilter` takes them.

    Raises:
        ValueError: fewer than two beliefs.

    Example:
        >>> from metaphys.physics import Circuit
        >>> prior, known = {"temperature": torch.tensor(20.0)}, torch.zeros(1, 1)
        >>> found = learn_walk(
        ...     Circuit(), prior, [Belief(torch.tensor([z]), known) for z in (0.0, 0.1, 0.2, 0.1)]
        ... )
        >>> round(float(found["temperature"]), 6)
        2.0
    """
    check(len(followed) >= 2, "followed", expected="two beliefs or more", got=len(followed))
    size = followed[0].mean.shape[-1]
    changes = [
        (after.mean - before.mean).square()
        + (after.covariance - before.covariance).diagonal(dim1=-2, dim2=-1)
        for before, after in itertools.pairwise(followed)
    ]
    steps = torch.stack(changes).reshape(-1, size).mean(0).clamp_min(0).sqrt()
    return Fields(system, prior).deviations(steps)
