"""Trajectories and their loss, against the formulas written out."""

from __future__ import annotations

import importlib.util
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch

import helpers.gym as gym
from helpers.policy import CategoricalMLPPolicy
from helpers.rollout import Traj, a2c_loss, sample_traj, td_lambda_returns

TUTORIAL = Path(__file__).parents[2] / "tutorials" / "06_maml_tabular_mdp.py"


@pytest.fixture
def policy() -> CategoricalMLPPolicy:
    return CategoricalMLPPolicy(input_size=10, output_size=5)


@pytest.fixture
def trajs(policy) -> Traj:
    env = gym.make("TabularMDP-v0", max_episode_steps=4)
    return sample_traj(env, env.sample_tasks(1)[0], policy, traj_num=3, gamma=0.9)


def test_a_trajectory_hangs_together(trajs):
    assert trajs.obs.shape == trajs.next_obs.shape == (4, 3, 10)
    assert trajs.acs.shape == trajs.rews.shape == (4, 3)
    assert (trajs.obs[0].argmax(-1) == 0).all()
    assert (trajs.obs[1:] == trajs.next_obs[:-1]).all()
    assert trajs.gammas[:, 0].tolist() == [0.9, 0.9, 0.9, 0.0]


def test_the_policy_has_the_parameters_of_the_example(policy):
    assert sum(p.numel() for p in policy.parameters()) == 1606


@pytest.mark.parametrize("lam", [0.0, 0.4, 1.0])
def test_returns_are_the_mixture_of_n_step_returns(lam):
    rewards, values = torch.randn(5), torch.randn(5)
    gammas = torch.full((5,), 0.9)
    gammas[-1] = 0

    def n_step(t: int, n: int) -> torch.Tensor:
        discount = torch.cat([torch.ones(1), gammas[t : t + n].cumprod(0)])
        return (discount[:n] * rewards[t : t + n]).sum() + discount[n] * values[t + n - 1]

    def mixture(t: int) -> torch.Tensor:
        left = 5 - t
        shares = [(1 - lam) * lam ** (n - 1) for n in range(1, left)] + [lam ** (left - 1)]
        return sum(s * n_step(t, n) for n, s in enumerate(shares, start=1))  # type: ignore

    wanted = torch.stack([mixture(t) for t in range(5)])
    torch.testing.assert_close(td_lambda_returns(rewards, gammas, values, lam), wanted)


def test_the_loss_is_its_formula(policy, trajs):
    loss = a2c_loss(trajs, policy, value_coef=0.5, lam=0.7)
    pi, values = policy(torch.from_numpy(trajs.obs))
    after = policy(torch.from_numpy(trajs.next_obs))[1].squeeze(-1).detach().numpy()
    returns = np.zeros((4, 3))
    for t in reversed(range(4)):
        later = 0.0 if t == 3 else 0.3 * after[t] + 0.7 * returns[t + 1]
        returns[t] = trajs.rews[t] + trajs.gammas[t] * later
    advantages = torch.from_numpy(returns) - values.squeeze(-1)
    chosen = pi.log_prob(torch.from_numpy(trajs.acs))
    wanted = -(advantages.detach() * chosen).mean() + 0.5 * (advantages**2).mean()
    torch.testing.assert_close(loss, wanted)


def test_the_tutorial_runs(capsys):
    spec = importlib.util.spec_from_file_location("tutorial_06", TUTORIAL)
    assert spec is not None and spec.loader is not None
    tutorial = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tutorial)
    short = {"TASK_NUM": 2, "TRAJ_NUM": 3, "outer_iters": 2, "args": Namespace(seed=1)}
    for name, value in short.items():
        setattr(tutorial, name, value)
    tutorial.main(tutorial.args)
    lines = capsys.readouterr().out.split("\n")
    assert lines[0] == "Train_iters 0"
    assert all(np.isfinite(float(line.split()[-1])) for line in lines if line)
    assert len(lines) == 11
