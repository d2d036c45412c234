"""Tabular Markov decision processes, all tasks and all trajectories in one batch."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from metaphys._errors import check


class Tasks(NamedTuple):
    """n processes with S states and A actions.

    Attributes:
        transitions: probabilities of the next state (n, S, A, S).
        rewards: mean rewards (n, S, A).
    """

    transitions: Tensor
    rewards: Tensor


class Draws(NamedTuple):
    """The random numbers of N trajectories of T steps on n tasks, each (T, n, N).

    Attributes:
        action: uniform on [0, 1).
        reward: standard normal.
        state: uniform on [0, 1).
    """

    action: Tensor
    reward: Tensor
    state: Tensor


class Trajs(NamedTuple):
    """N trajectories of T steps on n tasks, each (T, n, N).

    Attributes:
        states: the states that are left, int64.
        actions: int64.
        rewards: floating point.
        next_states: the states that are entered, int64.
    """

    states: Tensor
    actions: Tensor
    rewards: Tensor
    next_states: Tensor


def sample_tasks(
    n: int, *, states: int = 10, actions: int = 5, generator: torch.Generator | None = None
) -> Tasks:
    r"""Draw tasks as RL² does (Duan et al. 2016, arXiv:1611.02779, Sec. 3.2).

    .. math::
        P(\cdot \mid s, a) \sim \mathrm{Dirichlet}(1, \dots, 1),\qquad R(s, a) \sim N(1, 1)

    Args:
        n: how many.
        states: S.
        actions: A.
        generator: where the random numbers come from; torch's own by default.

    Raises:
        ValueError: if one of the sizes is below 1.

    Example:
        >>> tasks = sample_tasks(3)
        >>> tasks.transitions.shape, tasks.rewards.shape
        (torch.Size([3, 10, 5, 10]), torch.Size([3, 10, 5]))
    """
    for name, value in (("n", n), ("states", states), ("actions", actions)):
        check(value >= 1, name, expected=">= 1", got=value)
    # Exponential numbers over their sum are Dirichlet(1, ..., 1).
    weights = torch.empty(n, states, actions, states).exponential_(generator=generator)
    rewards = 1 + torch.randn(n, states, actions, generator=generator)
    return Tasks(weights / weights.sum(-1, keepdim=True), rewards)


def draw(n: int, trajs: int, steps: int, generator: torch.Generator | None = None) -> Draws:
    """The random numbers that :func:`rollout` needs for ``trajs`` trajectories on ``n`` tasks.

    Example:
        >>> [tuple(each.shape) for each in draw(3, trajs=2, steps=10)]
        [(10, 3, 2), (10, 3, 2), (10, 3, 2)]
    """
    shape = (steps, n, trajs)
    return Draws(
        torch.rand(shape, generator=generator),
        torch.randn(shape, generator=generator),
        torch.rand(shape, generator=generator),
    )


@torch.no_grad()
def rollout(tasks: Tasks, probs: Tensor, draws: Draws) -> Trajs:
    r"""Play; every trajectory starts in state 0.

    .. math::
        r \sim N(R(s, a), 1),\qquad s' \sim P(\cdot \mid s, a)

    Actions and states are the inverse of their cumulative probabilities at the uniform numbers, as
    in ``helpers.tabular_mdp``: the same numbers give the same trajectories.

    Args:
        tasks: n tasks.
        probs: the policy (n, S, A), or (S, A) for all tasks.
        draws: the random numbers.

    Returns:
        Trajectories without a graph.

    Raises:
        ValueError: if the policy or the numbers do not fit the tasks.

    Example:
        >>> tasks = sample_tasks(3)
        >>> trajs = rollout(tasks, torch.full((10, 5), 0.2), draw(3, trajs=20, steps=10))
        >>> trajs.rewards.shape
        torch.Size([10, 3, 20])
    """
    n, states, actions = tasks.rewards.shape
    fits = tuple(probs.shape) in ((states, actions), (n, states, actions))
    expected = f"of shape {(n, states, actions)} or {(states, actions)}"
    check(fits, "probs", expected=expected, got=tuple(probs.shape))
    found = draws.action.shape[1]
    check(found == n, "draws", expected=f"for {n} tasks", got=f"some for {found}")
    policy = probs.expand(n, states, actions).cumsum(-1).flatten(0, 1)
    dynamics = tasks.transitions.cumsum(-1).flatten(0, 2)
    means = tasks.rewards.flatten()
    first = torch.arange(n).unsqueeze(-1) * states
    state = torch.zeros(draws.action.shape[1:], dtype=torch.int64)
    steps = []
    for uniform, normal, other in zip(*draws):
        action = _inverse(policy[first + state], uniform)
        pair = (first + state) * actions + action
        following = _inverse(dynamics[pair], other)
        steps.append((state, action, means[pair] + normal, following))
        state = following
    return Trajs(*(torch.stack(parts) for parts in zip(*steps)))


def _inverse(cumulative: Tensor, uniform: Tensor) -> Tensor:
    """The smallest index whose cumulative probability exceeds the number."""
    found = (cumulative <= uniform.unsqueeze(-1)).sum(-1)
    # Rounding may leave the last cumulative probability a little below 1.
    return found.clamp_max(cumulative.shape[-1] - 1)


def at(table: Tensor, *indices: Tensor) -> Tensor:
    """Entries of a table of each task along trajectories.

    Args:
        table: (n, S) or (n, S, A), or one for all tasks (1, ...).
        indices: states, or states and actions, each (T, n, N).

    Returns:
        (T, n, N).

    Example:
        >>> table = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
        >>> at(table, torch.tensor([[[0], [1]]]))
        tensor([[[1.],
                 [4.]]])
    """
    n = indices[0].shape[1]
    task = torch.arange(n).unsqueeze(-1)
    return table.expand(n, *table.shape[1:])[(task, *indices)]
