"""Splits that depend on the seed alone."""

from __future__ import annotations

from collections.abc import Sequence

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
        for part, piece in zip(
            parts, members.tensor_split(_ends(fractions, len(members))), strict=True
        ):
            part.append(piece)
    joined = [torch.cat(part) for part in parts]
    return [part[torch.randperm(len(part), generator=generator)] for part in joined]


def grouped(groups: Sequence[str], fractions: tuple[float, ...], seed: int) -> list[Tensor]:
    """Indices of parts that hold whole groups; fractions are of groups, the last takes the rest.

    Args:
        groups: the group of each sample, such as who was recorded.
        fractions: of all but the last part; their sum is < 1.
        seed: of the shuffle.

    Returns:
        ``len(fractions) + 1`` shuffled index tensors, disjoint, together every index.

    Example:
        >>> [sorted(part.tolist()) for part in grouped(["a", "b", "b", "a"], (0.5,), seed=0)]
        [[0, 3], [1, 2]]
    """
    generator = torch.Generator().manual_seed(seed)
    names = sorted(set(groups))
    order = torch.randperm(len(names), generator=generator)
    members = torch.tensor([names.index(group) for group in groups])
    parts = [
        torch.nonzero(torch.isin(members, chosen)).flatten()
        for chosen in order.tensor_split(_ends(fractions, len(names)))
    ]
    return [part[torch.randperm(len(part), generator=generator)] for part in parts]


def _ends(fractions: tuple[float, ...], size: int) -> list[int]:
    cumulative = torch.tensor(fractions, dtype=torch.float64).cumsum(0)
    return (cumulative * size).round().long().tolist()
