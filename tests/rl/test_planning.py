"""Exact values and plans, against sampling and enumeration."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch.nn.functional import one_hot

from metaphys.rl import (
    Trajs,
    count,
    draw,
    estimated,
    plan,
    planner_return,
    policy_return,
    rollout,
    sample_tasks,
)


def test_the_exact_return_is_the_mean_of_sampled_ones():
    tasks = sample_tasks(2)
    probs = torch.rand(2, 10, 5).softmax(-1)
    exact = policy_return(tasks, probs, horizon=6)
    sums = rollout(tasks, probs, draw(2, 40_000, 6)).rewards.sum(0)
    error = sums.std(-1) / 200
    assert ((sums.mean(-1) - exact).abs() < 4 * error).all()


def test_the_return_is_differentiable():
    tasks = sample_tasks(2, states=3, actions=2)

    def value(logits: torch.Tensor) -> torch.Tensor:
        return policy_return(tasks, logits.softmax(-1), horizon=4)

    logits = torch.randn(2, 3, 2, requires_grad=True)
    assert torch.autograd.gradcheck(value, logits)
    assert torch.autograd.gradgradcheck(value, logits)


def test_no_policy_beats_the_plan():
    tasks = sample_tasks(1, states=2, actions=2)
    best = policy_return(tasks, plan(tasks, 3), 3)
    tables = [one_hot(torch.tensor(table), 2).double() for table in product((0, 1), repeat=6)]
    returns = [policy_return(tasks, table.view(3, 1, 2, 2), 3) for table in tables]
    torch.testing.assert_close(max(returns), best)


def test_counts_are_those_of_the_trajectories():
    trajs = Trajs(*(torch.tensor(x).view(2, 1, 1) for x in ([0, 2], [1, 1], [3.0, 4.0], [2, 2])))
    counts = count(trajs, states=3, actions=2)
    assert counts.visits[0].tolist() == [[0, 1], [0, 0], [0, 1]]
    assert counts.rewards[0].tolist() == [[0, 3], [0, 0], [0, 4]]
    assert counts.transitions[0, :, 1, 2].tolist() == [1, 0, 1]
    assert counts.transitions.sum() == 2


def test_the_estimate_is_the_posterior_mean_and_approaches_the_process():
    tasks = sample_tasks(2, states=3, actions=2)
    trajs = rollout(tasks, torch.full((3, 2), 0.5), draw(2, 20_000, 10))
    found = estimated(count(trajs, 3, 2))
    assert (found.rewards - tasks.rewards).abs().max() < 0.06
    assert (found.transitions - tasks.transitions).abs().max() < 0.03
    torch.testing.assert_close(found.transitions.sum(-1), torch.ones(2, 3, 2))


@pytest.mark.parametrize("strength", [1e-6, 1.0])
def test_a_planner_with_much_data_is_nearly_optimal(strength):
    tasks = sample_tasks(5, states=3, actions=2)
    counts = count(rollout(tasks, torch.full((3, 2), 0.5), draw(5, 5000, 10)), 3, 2)
    gap = policy_return(tasks, plan(tasks, 10), 10) - planner_return(tasks, counts, strength)
    assert (gap >= -1e-9).all() and gap.max() < 0.05
