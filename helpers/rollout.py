"""Trajectories of a policy on a task, and the actor-critic loss on them."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import Categorical

from helpers.tabular_mdp import TabularMDPEnv, Task

TRAJ_NUM = 20
GAMMA = 0.99
LAMBDA = 0.95


class Policy(Protocol):
    """Maps observations to a distribution over actions, and to values."""

    def __call__(self, inputs: Tensor) -> tuple[Categorical, Tensor]:
        """Observations (..., S) to a distribution over A actions and values (..., 1)."""
        ...


class Traj(NamedTuple):
    """N trajectories of T steps each.

    Attributes:
        obs: observations (T, N, S), float32.
        acs: actions (T, N), int64.
        next_obs: the observations after them (T, N, S), float32.
        rews: rewards (T, N).
        gammas: discount of what comes after each step (T, N): γ, and 0 at an episode's last.
    """

    obs: NDArray[np.float32]
    acs: NDArray[np.int64]
    next_obs: NDArray[np.float32]
    rews: NDArray[np.float64]
    gammas: NDArray[np.float64]


def sample_traj(
    env: TabularMDPEnv,
    task: Task,
    policy: Policy,
    traj_num: int = TRAJ_NUM,
    gamma: float = GAMMA,
) -> Traj:
    """``traj_num`` episodes of ``policy`` on ``task``.

    Args:
        env: the environment; its task is set to ``task``.
        task: what ``env.sample_tasks`` returned.
        policy: the policy; actions are drawn from torch's generator.
        traj_num: N, the number of episodes.
        gamma: discount.

    Example:
        >>> from helpers.policy import CategoricalMLPPolicy
        >>> env = TabularMDPEnv(max_episode_steps=6)
        >>> trajs = sample_traj(env, env.sample_tasks(1)[0], CategoricalMLPPolicy(10, 5), 3)
        >>> trajs.obs.shape, trajs.rews.shape, float(trajs.gammas[-1].max())
        ((6, 3, 10), (6, 3), 0.0)
    """
    env.reset_task(task)
    episodes = [_episode(env, policy, gamma) for _ in range(traj_num)]
    return Traj(*(np.stack(parts, axis=1) for parts in zip(*episodes)))


@torch.no_grad()
def _episode(env: TabularMDPEnv, policy: Policy, gamma: float) -> Traj:
    steps: list[tuple[Any, ...]] = []
    observation, _ = env.reset()
    over = False
    while not over:
        distribution, _ = policy(torch.from_numpy(observation))
        action = int(distribution.sample())
        following, reward, terminated, truncated, _ = env.step(action)
        over = terminated or truncated
        steps.append((observation, action, following, reward, 0.0 if over else gamma))
        observation = following
    return Traj(*(np.array(column) for column in zip(*steps)))


def td_lambda_returns(
    rewards: Tensor, gammas: Tensor, next_values: Tensor, lam: float = LAMBDA
) -> Tensor:
    r"""TD(λ) returns, from the last step backwards.

    .. math::
        G_t = r_t + \gamma_t \left[(1 - \lambda) V(s_{t+1}) + \lambda G_{t+1}\right],\qquad
        G_T = V(s_T)

    (Sutton and Barto 2018, Eq. 12.2, in its recursive form.)

    Args:
        rewards: r (T, ...).
        gammas: discounts γ_t (T, ...), 0 where an episode ends.
        next_values: V(s_{t+1}) (T, ...).
        lam: λ.

    Returns:
        G (T, ...).

    Example:
        >>> ones = torch.ones(3)
        >>> td_lambda_returns(ones, torch.tensor([0.5, 0.5, 0.0]), torch.zeros(3), lam=1.0)
        tensor([1.7500, 1.5000, 1.0000])
    """
    returns = []
    following = next_values[-1]
    for reward, gamma, value in zip(rewards.flip(0), gammas.flip(0), next_values.flip(0)):
        following = reward + gamma * ((1 - lam) * value + lam * following)
        returns.append(following)
    return torch.stack(returns[::-1])


def a2c_loss(traj: Any, policy: Policy, value_coef: float, lam: float = LAMBDA) -> Tensor:
    r"""The advantage actor-critic loss, with TD(λ) returns as targets.

    .. math::
        L = -\mathrm{mean}\big(\mathrm{stopgrad}(A) \log \pi(a \mid s)\big)
            + c\, \mathrm{mean}\big(A^2\big),\qquad A = \mathrm{stopgrad}(G) - V(s)

    Args:
        traj: trajectories with the fields of :class:`Traj`.
        policy: the policy and its value.
        value_coef: c.
        lam: λ of the returns.

    Returns:
        A scalar.

    Example:
        >>> from helpers.policy import CategoricalMLPPolicy
        >>> env, policy = TabularMDPEnv(), CategoricalMLPPolicy(10, 5)
        >>> trajs = sample_traj(env, env.sample_tasks(1)[0], policy)
        >>> a2c_loss(trajs, policy, value_coef=0.5).shape
        torch.Size([])
    """
    distribution, values = policy(torch.from_numpy(traj.obs))
    values = values.squeeze(-1)
    with torch.no_grad():
        next_values = policy(torch.from_numpy(traj.next_obs))[1].squeeze(-1)
        rewards = torch.from_numpy(traj.rews).to(values.dtype)
        gammas = torch.from_numpy(traj.gammas).to(values.dtype)
        returns = td_lambda_returns(rewards, gammas, next_values, lam)
    advantages = returns - values
    chosen = distribution.log_prob(torch.from_numpy(traj.acs))
    return -(advantages.detach() * chosen).mean() + value_coef * advantages.square().mean()
