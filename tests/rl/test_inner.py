"""Losses, and inner loops that an outer loop can differentiate."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from helpers.rollout import td_lambda_returns
from metaphys.rl import (
    MLP,
    Meta,
    Seen,
    Tabular,
    a2c,
    adapt,
    count,
    draw,
    draw_rounds,
    exploration_loss,
    importance,
    init_meta,
    learned_loss,
    magic_box,
    plan,
    play_and_adapt,
    policy_return,
    rollout,
    sample_tasks,
    td_lambda,
    textbook_loss,
    weighted_loss,
)
from metaphys.rl._mdp import at

LOSSES = {"textbook": textbook_loss, "weighted": weighted_loss, "learned": learned_loss}
SIZES = {"states": 3, "actions": 2}


def _experience(net, meta: Meta, n: int = 2):
    tasks = sample_tasks(n, states=3, actions=2)
    log_probs = net.apply(meta.start)[0].detach().expand(n, 3, 2)
    trajs = rollout(tasks, log_probs.exp(), draw(n, 5, 4))
    played = at(log_probs, trajs.states, trajs.actions)
    return tasks, Seen.of(trajs, played, 3, 2)


def test_returns_agree_with_those_of_the_loop():
    rewards, values, gammas = torch.randn(6, 2, 3), torch.randn(6, 2, 3), torch.rand(6, 1, 1)
    theirs = td_lambda_returns(rewards, gammas, values, 0.7)
    torch.testing.assert_close(td_lambda(rewards, gammas, values, 0.7), theirs)
    torch.testing.assert_close(td_lambda(rewards, gammas, values, torch.tensor(0.7)), theirs)


def test_importance_weights_change_no_gradient_where_the_policy_is_the_one_that_played():
    net = MLP(**SIZES)
    meta = init_meta(net)
    _, seen = _experience(net, meta)
    log_probs, values = (table.expand(2, *table.shape) for table in net.apply(meta.start))
    ratios = importance(log_probs, seen.played, seen.trajs)
    torch.testing.assert_close(ratios, torch.ones_like(ratios))
    plain, weighted = (
        a2c(log_probs, values, seen.trajs, gamma=0.9, lam=0.9, ratios=each).sum()
        for each in (None, ratios)
    )
    params = list(meta.start.values())
    for one, other in zip(
        torch.autograd.grad(plain, params, retain_graph=True), torch.autograd.grad(weighted, params)
    ):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("kind", [Tabular, MLP])
def test_the_outer_gradient_is_that_of_finite_differences(kind, loss):
    net = kind(**SIZES)
    # One step, and not of the start: beyond, the losses stop gradients on purpose.
    meta = init_meta(net, steps=1, lr=0.3)
    tasks, seen = _experience(net, meta)
    groups = meta.groups()
    learned = groups["log_rates"] + groups["loss"] + groups["rounds"]

    def value() -> torch.Tensor:
        params = adapt(meta, net, seen, LOSSES[loss])
        return policy_return(tasks, net.apply(params)[0].exp(), 4).sum()

    grads = torch.autograd.grad(value(), learned, allow_unused=True)
    assert any(grad is not None and grad.abs().max() > 1e-3 for grad in grads)
    for tensor, grad in zip(learned, grads):
        found = 0.0 if grad is None else grad.flatten()[-1].item()
        assert found == pytest.approx(_slope(value, tensor), abs=1e-7, rel=1e-5)


def _slope(value: Callable[[], torch.Tensor], tensor: torch.Tensor, step: float = 1e-5) -> float:
    """The central difference in a tensor's last entry."""
    last = tensor.data.view(-1)[-1:]
    ends = []
    for shift in (step, -2 * step, step):
        last += shift
        ends.append(value().item())
    return (ends[0] - ends[1]) / (2 * step)


def test_one_learned_step_moves_a_logit_by_the_shrunk_mean_advantage():
    net = Tabular(**SIZES)
    meta = init_meta(net, lr=1.0)
    meta.loss["discount"].data.fill_(-40.0)  # myopic
    meta.loss["pairs"].data.fill_(0.7)
    _, seen = _experience(net, meta)
    logits = adapt(meta, net, seen, learned_loss)["logits"]
    counts = seen.counts
    shrunk = counts.rewards / (counts.visits + torch.tensor(0.7).exp())
    wanted = shrunk - shrunk.mean(-1, keepdim=True)
    torch.testing.assert_close(logits, wanted)


def test_optimism_prefers_what_was_rarely_tried():
    net = Tabular(**SIZES)
    meta = init_meta(net, lr=1.0)
    meta.rounds["bonus"].data.fill_(50.0)
    _, seen = _experience(net, meta)
    logits = adapt(meta, net, seen, learned_loss)["logits"]
    visits = seen.counts.visits
    distinct = visits[..., 0] != visits[..., 1]
    assert distinct.any()
    assert (logits.argmax(-1) == visits.argmin(-1))[distinct].all()


def test_without_an_outer_loop_the_result_is_the_same():
    net = MLP(**SIZES)
    meta = init_meta(net, steps=3)
    _, seen = _experience(net, meta)
    with_graph = adapt(meta, net, seen, learned_loss)
    without = adapt(meta, net, seen, learned_loss, differentiable=False)
    for name, value in with_graph.items():
        torch.testing.assert_close(value, without[name])
        assert without[name].is_leaf and value.grad_fn is not None


def test_later_rounds_are_played_by_adapted_policies():
    net = Tabular(10, 5)
    meta = init_meta(net, rounds=4, lr=20.0)
    tasks = sample_tasks(50)
    adapted = play_and_adapt(meta, net, learned_loss, tasks, draw_rounds(50, 4))
    rewards = adapted.seen.trajs.rewards.sum(0).view(50, 4, 5).mean((0, 2))
    assert adapted.seen.trajs.rewards.shape == (10, 50, 20)
    assert rewards[-1] > rewards[0] + 4
    assert count(adapted.seen.trajs).visits.sum() == 50 * 200


def test_exploration_has_the_gradient_of_the_score_function():
    net = Tabular(10, 5)
    meta = init_meta(net, rounds=2, lr=1.0)
    tasks = sample_tasks(6)
    adapted = play_and_adapt(meta, net, learned_loss, tasks, draw_rounds(6, 2))
    best_of = policy_return(tasks, adapted.log_probs.exp(), 10).detach()
    regret = best_of - policy_return(tasks, plan(tasks, 10), 10)
    wanted = -((regret - regret.mean()) * adapted.likelihood).mean()
    sharpness = meta.rounds["sharpness"]
    (found,) = torch.autograd.grad(exploration_loss(adapted, tasks), sharpness, retain_graph=True)
    torch.testing.assert_close(found, torch.autograd.grad(wanted, sharpness)[0])
    assert found[0] != 0 and found[1] == 0  # The last round's policy plays no more.


def test_the_box_is_one_to_every_order():
    tau = torch.tensor(2.0, requires_grad=True)
    first = torch.autograd.grad(magic_box(tau), tau, create_graph=True)[0]
    assert first.item() == 1.0
    assert torch.autograd.grad(first, tau)[0].item() == 1.0


def test_rounds_divide_the_trajectories():
    with pytest.raises(ValueError, match="rounds"):
        draw_rounds(2, 3)
