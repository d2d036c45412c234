"""Training of small networks on measured pairs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from metaphys._errors import check

HELD_OUT = 0.1
"""The part of the pairs that decides which step is kept."""


@final
@dataclass(frozen=True)
class Schedule:
    """How a network is trained: Adam with a cosine to zero, keeping the best step.

    A tenth of the pairs is held out and judged twenty times on the way; the parameters that were
    best there are kept.

    Attributes:
        steps: gradient steps.
        batch: pairs in a step.
        lr: step size of Adam at the start.
        seed: of the initial weights and of the batches.

    Raises:
        ValueError: ``steps`` or ``batch`` < 1, ``lr`` <= 0.

    Example:
        >>> Schedule(steps=500).batch
        64
    """

    steps: int = 2000
    batch: int = 64
    lr: float = 1e-3
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch"):
            check(getattr(self, name) >= 1, name, expected=">= 1", got=getattr(self, name))
        check(self.lr > 0, "lr", expected="> 0", got=self.lr)

    def generator(self) -> torch.Generator:
        """The stream of initial weights."""
        return torch.Generator().manual_seed(self.seed)


Loss = Callable[[Tensor], Tensor]
"""The mean loss of the pairs with these indices."""


def train(net: nn.Module, loss: Loss, count: int, schedule: Schedule) -> None:
    """Train ``net`` in place on ``count`` pairs (at least 2)."""
    generator = torch.Generator().manual_seed(schedule.seed + 1)
    order = torch.randperm(count, generator=generator)
    split = max(1, math.ceil(HELD_OUT * count))
    held, used = order[:split], order[split:]
    optimizer = torch.optim.Adam(net.parameters(), lr=schedule.lr)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, schedule.steps)
    every = max(1, schedule.steps // 20)
    best, kept = math.inf, {name: v.clone() for name, v in net.state_dict().items()}
    for step in range(1, schedule.steps + 1):
        pick = torch.randint(len(used), (min(schedule.batch, len(used)),), generator=generator)
        optimizer.zero_grad()
        loss(used[pick]).backward()
        optimizer.step()
        cosine.step()
        if step % every == 0 or step == schedule.steps:
            with torch.no_grad():
                reached = float(loss(held))
            if reached < best:
                best, kept = reached, {n: v.clone() for n, v in net.state_dict().items()}
    net.load_state_dict(kept)
