"""Splits that depend on the seed alone."""

from __future__ import annotations

import torch
from torch import Tensor


def stratified(targets: Tensor, fractions: tuple[float, ...], seed: int) -> list[Tensor]:
    """Indices of parts that hold each class in the given proportions; the last takes the rest.

    Args:
        targets: (n,), int64.
        fractions: of all but the last part; their sum is < 1.
        seed: of the shuffle.

    Returns:
        ``len(fractions) + 1`` shuffled index tensors, disjoint, together every index.

    Example:
        >>> parts = stratified(torch.tensor([0, 0, 0, 0, 1, 1, 1, 1]), (0.5,), seed=0)
        >>> [sorted((part >= 4).tolist()) for part in parts]
        [[False, False, True, True], [False, False, True, True]]
    """
    generator = torch.Generator().manual_seed(seed)
    parts: list[list[Tensor]] = [[] for _ in range(len(fractions) + 1)]
    for label in targets.unique():
        members = torch.nonzero(targets == label).flatten()
        members = members[torch.randperm(len(members), generator=generator)]
        ends = (
            (torch.tensor(fractions, dtype=torch.float64).cumsum(0) * len(members))
            .round()
            .long()
            .tolist()
        )
        for part, piece in zip(parts, members.tensor_split(ends), strict=True):
            part.append(piece)
    joined = [torch.cat(part) for part in parts]
    return [part[torch.randperm(len(part), generator=generator)] for part in joined]
