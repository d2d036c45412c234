"""The batch and the loop are one experiment: step by step, and in distribution."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import helpers.gym as gym
import metaphys
from helpers.policy import CategoricalMLPPolicy
from helpers.rollout import a2c_loss, sample_traj
from helpers.tabular_mdp import Task
from metaphys.rl import (
    MLP,
    Draws,
    Meta,
    Tasks,
    count,
    draw,
    from_module,
    init_meta,
    play_and_adapt,
    rollout,
    sample_tasks,
    sampled_loss,
    textbook_loss,
)

N, TRAJS, STEPS = 3, 4, 10


def _in_order(numbers: Tensor, task: int) -> Iterator[float]:
    """One episode after the other, as the loop plays them."""
    return iter(numbers[:, task].T.flatten().tolist())


def _played(env: Any, tasks: Tasks, task: int, policy: Any, draws: Draws, trajs: int) -> Any:
    """The loop's trajectories with given random numbers for environment and actions."""
    normal, uniform = _in_order(draws.reward, task), _in_order(draws.state, task)
    env._np_random = SimpleNamespace(
        standard_normal=lambda: next(normal), random=lambda: next(uniform)
    )
    choice = _in_order(draws.action, task)

    def scripted(observation: Tensor) -> tuple[Any, None]:
        pi, _ = policy(observation)
        chosen = (pi.probs.cumsum(-1) <= next(choice)).sum()
        return SimpleNamespace(sample=lambda: chosen), None

    one = Task(tasks.transitions[task].numpy(), tasks.rewards[task].numpy())
    return sample_traj(env, one, scripted, traj_num=trajs)  # type: ignore[arg-type]


def test_the_same_numbers_give_the_same_trajectories():
    policy, tasks, draws = CategoricalMLPPolicy(10, 5), sample_tasks(N), draw(N, TRAJS, STEPS)
    log_probs, _ = MLP(10, 5).apply(from_module(policy))
    batch = rollout(tasks, log_probs.exp(), draws)
    env = gym.make("TabularMDP-v0", max_episode_steps=STEPS)
    for task in range(N):
        loop = _played(env, tasks, task, policy, draws, TRAJS)
        assert (loop.obs.argmax(-1) == batch.states[:, task].numpy()).all()
        assert (loop.next_obs.argmax(-1) == batch.next_states[:, task].numpy()).all()
        assert (loop.acs == batch.actions[:, task].numpy()).all()
        np.testing.assert_allclose(loop.rews, batch.rewards[:, task].numpy(), rtol=1e-12)


def test_outer_iterations_of_loop_and_batch_give_the_same_parameters():
    policy, net = CategoricalMLPPolicy(10, 5), MLP(10, 5)
    start = {name: value.requires_grad_() for name, value in from_module(policy).items()}
    rest = init_meta(net, lr=0.1)
    meta = Meta(start, rest.log_rates, rest.loss, rest.rounds)
    inner = metaphys.MetaSGD(policy, lr=0.1)
    outer = torch.optim.Adam(policy.parameters(), lr=1e-3)
    batched = torch.optim.Adam(start.values(), lr=1e-3)
    env = gym.make("TabularMDP-v0", max_episode_steps=STEPS)
    for _ in range(3):
        tasks = sample_tasks(N)
        before, after = draw(N, TRAJS, STEPS), draw(N, TRAJS, STEPS)
        outer.zero_grad()
        policy_state = metaphys.extract_state_dict(policy)
        inner_state = metaphys.extract_state_dict(inner)
        for task in range(N):
            trajs = _played(env, tasks, task, policy, before, TRAJS)
            inner.step(a2c_loss(trajs, policy, value_coef=0.5))
            trajs = _played(env, tasks, task, policy, after, TRAJS)
            a2c_loss(trajs, policy, value_coef=0.5).backward()
            metaphys.recover_state_dict(policy, policy_state)
            metaphys.recover_state_dict(inner, inner_state)
        outer.step()
        batched.zero_grad()
        adapted = play_and_adapt(meta, net, textbook_loss, tasks, [before])
        sampled_loss(adapted, tasks, after).backward()
        batched.step()
        for name, value in policy.named_parameters():
            torch.testing.assert_close(value, start[name], rtol=1e-10, atol=1e-12)


def test_the_batch_has_the_distribution_of_the_loop():
    policy = CategoricalMLPPolicy(10, 5)
    env = gym.make("TabularMDP-v0", max_episode_steps=STEPS, seed=5)
    task = env.sample_tasks(1)[0]
    loop = sample_traj(env, task, policy, traj_num=150)
    tasks = Tasks(*(torch.from_numpy(each).unsqueeze(0) for each in task))
    log_probs, _ = MLP(10, 5).apply(from_module(policy))
    batch = rollout(tasks, log_probs.exp(), draw(1, 20_000, STEPS))
    ours, theirs = batch.rewards[:, 0].sum(0), torch.from_numpy(loop.rews).sum(0)
    error = (theirs.var() / len(theirs) + ours.var() / len(ours)).sqrt()
    assert abs(ours.mean() - theirs.mean()) < 3 * error
    frequencies = count(batch).visits[0] / batch.rewards.numel()
    pairs = (loop.obs.argmax(-1), loop.acs)
    found = np.zeros((10, 5))
    np.add.at(found, pairs, 1 / loop.acs.size)
    assert np.abs(found - frequencies.numpy()).max() < 0.02


def test_sampled_tasks_have_the_prior_of_the_environment():
    tasks = sample_tasks(400)
    assert tasks.rewards.mean().item() == pytest.approx(1.0, abs=0.03)
    assert tasks.rewards.std().item() == pytest.approx(1.0, abs=0.03)
    assert tasks.transitions.std().item() == pytest.approx((9 / 1100) ** 0.5, rel=0.02)
    torch.testing.assert_close(tasks.transitions.sum(-1), torch.ones(400, 10, 5))


@pytest.mark.parametrize(
    ("act", "name"),
    [
        (lambda: sample_tasks(0), "`n`"),
        (lambda: rollout(sample_tasks(2), torch.ones(3, 3), draw(2, 1, 1)), "`probs`"),
        (lambda: rollout(sample_tasks(2), torch.ones(10, 5) / 5, draw(3, 1, 1)), "`draws`"),
    ],
)
def test_misuse_is_refused_by_name(act, name):
    with pytest.raises(ValueError, match=name):
        act()
