"""Exact values of policies, and planning: on the known process, or on what was seen of it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from metaphys.rl._mdp import Tasks, Trajs


class Counts(NamedTuple):
    """What trajectories tell about n tasks.

    Attributes:
        visits: how often each action was taken in each state (n, S, A).
        rewards: the sum of what it gave (n, S, A).
        transitions: how often it led to each state (n, S, A, S).
    """

    visits: Tensor
    rewards: Tensor
    transitions: Tensor


def count(trajs: Trajs, states: int = 10, actions: int = 5) -> Counts:
    """The sufficient statistics of trajectories.

    Example:
        >>> from metaphys.rl import draw, rollout, sample_tasks
        >>> probs = torch.full((10, 5), 0.2)
        >>> counts = count(rollout(sample_tasks(2), probs, draw(2, trajs=20, steps=10)))
        >>> counts.visits.sum((-1, -2))
        tensor([200., 200.])
    """
    n = trajs.states.shape[1]
    task = torch.arange(n).unsqueeze(-1)
    pair = ((task * states + trajs.states) * actions + trajs.actions).flatten()
    ones = torch.ones_like(trajs.rewards).flatten()
    size = n * states * actions
    visits = ones.new_zeros(size).index_add(0, pair, ones)
    rewards = ones.new_zeros(size).index_add(0, pair, trajs.rewards.flatten())
    triple = pair * states + trajs.next_states.flatten()
    transitions = ones.new_zeros(size * states).index_add(0, triple, ones)
    shape = (n, states, actions)
    return Counts(visits.view(shape), rewards.view(shape), transitions.view(*shape, states))


def policy_return(tasks: Tasks, probs: Tensor, horizon: int) -> Tensor:
    r"""The exact expected return of a policy from state 0; differentiable in everything.

    .. math::
        V_T = 0,\qquad V_t(s) = \sum_a \pi_t(a \mid s) \Big[R(s, a) + \sum_{s'} P(s' \mid s, a)
            V_{t+1}(s')\Big]

    Args:
        tasks: n tasks.
        probs: the policy (n, S, A) or (S, A), or one for each step (horizon, n, S, A).
        horizon: T.

    Returns:
        V_0(0), (n,).

    Example:
        >>> tasks = Tasks(torch.ones(1, 1, 2, 1), torch.tensor([[[1.0, 3.0]]]))
        >>> policy_return(tasks, torch.tensor([[0.5, 0.5]]), horizon=10)
        tensor([20.])
    """
    values = tasks.rewards.new_zeros(tasks.rewards.shape[:2])
    for step in reversed(range(horizon)):
        policy = probs[step] if probs.ndim == 4 else probs
        values = (policy * _backup(tasks, values)).sum(-1)
    return values[:, 0]


def plan(tasks: Tasks, horizon: int) -> Tensor:
    """The optimal policy at each step by backward induction, (horizon, n, S, A), deterministic.

    Example:
        >>> tasks = Tasks(torch.ones(1, 1, 2, 1), torch.tensor([[[1.0, 3.0]]]))
        >>> plan(tasks, horizon=2)[:, 0, 0]
        tensor([[0., 1.],
                [0., 1.]])
    """
    values = tasks.rewards.new_zeros(tasks.rewards.shape[:2])
    policies = []
    for _ in range(horizon):
        gains = _backup(tasks, values)
        values, best = gains.max(-1)
        policies.append(one_hot(best, gains.shape[-1]).to(gains.dtype))
    return torch.stack(policies[::-1])


def _backup(tasks: Tasks, values: Tensor) -> Tensor:
    return tasks.rewards + (tasks.transitions @ values[:, None, :, None]).squeeze(-1)


def estimated(counts: Counts, rewards: Tensor | float = 1.0, states: Tensor | float = 1.0) -> Tasks:
    r"""The process as the data show it, shrunk towards the mean of all tasks.

    .. math::
        \hat R = \frac{\sum r + \kappa_R}{n + \kappa_R},\qquad
        \hat P = \frac{n(s') + \kappa_P}{n + \kappa_P S}

    With both strengths 1 these are the exact posterior means under the distribution of tasks: the
    prior of a mean reward is N(1, 1) and its noise N(0, 1), that of transitions is Dirichlet(1).

    Args:
        counts: what was seen.
        rewards: κ_R > 0, how many observations of the mean 1 the prior is worth.
        states: κ_P > 0, how many of each next state.

    Example:
        >>> empty = Counts(*(torch.zeros(1, 2, 1, *more) for more in ((), (), (2,))))
        >>> estimated(empty).rewards.flatten(), estimated(empty).transitions.flatten()
        (tensor([1., 1.]), tensor([0.5000, 0.5000, 0.5000, 0.5000]))
    """
    visits = counts.visits
    means = (counts.rewards + rewards) / (visits + rewards)
    size = counts.transitions.shape[-1]
    transitions = (counts.transitions + states) / (visits + states * size).unsqueeze(-1)
    return Tasks(transitions, means)
