"""What an outer loop learns, and what an agent has seen."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from metaphys.rl._mdp import Trajs
from metaphys.rl._planning import Counts, count
from metaphys.rl._policies import Params, PolicyNet


class Meta(NamedTuple):
    """Everything that an outer loop may learn.

    Attributes:
        start: parameters to adapt from.
        log_rates: logarithms of the step sizes, (K, ...) for each parameter: one for each of K
            steps and each entry.
        loss: 0-d tensors of :func:`learned_loss`: ``discount`` and ``trace``, the logits of γ and
            λ, and ``pairs`` and ``states``, the logarithms of κ and κ_V.
        rounds: ``sharpness`` and ``bonus``, (R,) each: the logarithm of a factor on all step
            sizes, and the optimism η, of each of R rounds.
    """

    start: Params
    log_rates: Params
    loss: Params
    rounds: Params

    def groups(self) -> dict[str, list[Tensor]]:
        """The tensors by the names of the attributes."""
        return {name: list(part.values()) for name, part in self._asdict().items()}


def init_meta(
    net: PolicyNet,
    *,
    steps: int = 1,
    rounds: int = 1,
    lr: float = 0.1,
    generator: torch.Generator | None = None,
) -> Meta:
    """What is learned, before it is: γ = 0.9, λ = 0.95, shrinkage by one observation, no optimism.

    Args:
        net: the policy.
        steps: K, gradient steps in a round.
        rounds: R.
        lr: the step size of every entry.
        generator: of the start.

    Example:
        >>> from metaphys.rl import Tabular
        >>> meta = init_meta(Tabular(10, 5), steps=3, lr=0.1)
        >>> meta.log_rates["logits"].shape
        torch.Size([3, 10, 5])
    """
    start = net.init(generator)
    rates = {name: torch.full((steps, *p.shape), math.log(lr)) for name, p in start.items()}
    shares = {"discount": 0.9, "trace": 0.95}
    loss = {name: torch.tensor(math.log(share / (1 - share))) for name, share in shares.items()}
    loss |= {name: torch.tensor(0.0) for name in ("pairs", "states")}
    of_rounds = {name: torch.zeros(rounds) for name in ("sharpness", "bonus")}
    for tensors in (start, rates, loss, of_rounds):
        for tensor in tensors.values():
            tensor.requires_grad_()
    return Meta(start, rates, loss, of_rounds)


@dataclass(frozen=True)
class Seen:
    """What an agent has experienced on n tasks.

    Attributes:
        trajs: trajectories.
        played: log μ(a | s) of each action under the policy that chose it (T, n, N).
        counts: what the trajectories tell.
    """

    trajs: Trajs
    played: Tensor
    counts: Counts

    @classmethod
    def of(cls, trajs: Trajs, played: Tensor, states: int, actions: int) -> Seen:
        """With the counts made.

        Example:
            >>> from metaphys.rl import draw, rollout, sample_tasks
            >>> trajs = rollout(sample_tasks(3), torch.full((10, 5), 0.2), draw(3, 20, 10))
            >>> played = torch.full_like(trajs.rewards, 0.2).log()
            >>> Seen.of(trajs, played, states=10, actions=5).counts.visits.shape
            torch.Size([3, 10, 5])
        """
        return cls(trajs, played, count(trajs, states, actions))
