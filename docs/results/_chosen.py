"""Which images a unit is measured with, chosen before any unit is seen."""

from __future__ import annotations

import torch
from _linear import NOISE, derivatives
from torch import Tensor

from metaphys.training._draws import Params
from metaphys.training.recalibration import Setting

SKETCH = 200


def choose(
    setting: Setting,
    start: Params,
    pool: Tensor,
    inputs: Tensor,
    count: int,
    source: torch.Generator,
) -> Tensor:
    r"""Rows of ``pool`` that say most about what a unit answers to ``inputs``, one after the other.

    A unit's offsets δ are normal, and answers linear in them (:func:`_linear.derivatives`), so how
    much of the answers to the inputs remains unknown is known without a unit: with
    :math:`\Sigma_S` the covariance of δ once the answers to images S are measured, each to a
    variance of ν², the next image is the one after which

    .. math:: \operatorname{tr}( K_x \Sigma_{S \cup i} K_x^\top )

    is least: Bayesian A-optimal design by greedy choice. Where there are more answers to the
    inputs than ``SKETCH``, so many random mixtures of them stand for all.

    Args:
        setting: the network; its spread is that of δ.
        start: controls to choose at.
        pool: (n, pixels) to choose from.
        inputs: (m, pixels) that shall be answered well.
        count: how many are chosen.
        source: of the mixtures.
    """
    gain, deviation = torch.tensor([setting.config.gain]), setting.config.spread
    known = deviation * derivatives(setting, start, pool, gain)[1]
    asked = deviation * derivatives(setting, start, inputs, gain)[1]
    asked = (asked - asked.mean(1, keepdim=True)).flatten(0, 1)
    if len(asked) > SKETCH:
        asked = torch.randn(SKETCH, len(asked), generator=source) @ asked / SKETCH**0.5
    free, chosen = torch.ones(len(pool), dtype=torch.bool), []
    left = known.clone()  # times what is still unknown of δ
    for _ in range(count):
        own = left @ known.mT + NOISE * torch.eye(known.shape[1])
        factor = torch.linalg.cholesky(own)
        told = torch.linalg.solve_triangular(factor, left @ asked.mT, upper=False)
        gains = told.square().sum((1, 2)).where(free, -1)
        best = int(gains.argmax())
        free[best] = False
        chosen.append(best)
        seen = torch.linalg.solve_triangular(factor[best], left[best], upper=False)
        left = left - (known @ seen.mT) @ seen
    return torch.tensor(chosen)


def unknown(setting: Setting, start: Params, images: Tensor, inputs: Tensor) -> float:
    """The criterion of :func:`choose`, of an answer: its variance once the images are measured."""
    gain, deviation = torch.tensor([setting.config.gain]), setting.config.spread
    known = deviation * derivatives(setting, start, images, gain)[1].flatten(0, 1).double()
    asked = deviation * derivatives(setting, start, inputs, gain)[1].double()
    asked = (asked - asked.mean(1, keepdim=True)).flatten(0, 1)
    gram = known @ known.mT + NOISE * torch.eye(len(known), dtype=known.dtype)
    across = asked @ known.mT
    told = (across * torch.linalg.solve(gram, across.mT).mT).sum(-1)
    return float((asked.square().sum(-1) - told).mean())
