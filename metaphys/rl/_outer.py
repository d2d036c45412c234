"""The outer loop: experience in rounds, and the gradient of what comes out of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from metaphys._errors import check
from metaphys.rl._inner import InnerLoss, adapt
from metaphys.rl._inner_losses import GAMMA, LAMBDA
from metaphys.rl._losses import a2c, magic_box
from metaphys.rl._mdp import Draws, Tasks, Trajs, at, draw, rollout
from metaphys.rl._meta import Meta, Seen
from metaphys.rl._planning import plan, policy_return
from metaphys.rl._policies import PolicyNet

HORIZON = 10
"""Steps of a trajectory."""

TRAJS = 20
"""Trajectories on each task before the adapted policy is judged."""


@dataclass(frozen=True)
class Adapted:
    """What adaptation to n tasks gives.

    Attributes:
        log_probs: of the adapted policy (n, S, A).
        values: of the adapted critic (n, S).
        seen: the experience that they come from.
        likelihood: log probability of all actions that were played (n,), with its graph.
    """

    log_probs: Tensor
    values: Tensor
    seen: Seen
    likelihood: Tensor


def draw_rounds(n: int, rounds: int, generator: torch.Generator | None = None) -> list[Draws]:
    """The random numbers of :data:`TRAJS` trajectories on ``n`` tasks, in ``rounds`` parts.

    Example:
        >>> len(draw_rounds(3, rounds=4))
        4
    """
    expected = f"a divisor of {TRAJS}, the number of trajectories"
    check(rounds >= 1 and TRAJS % rounds == 0, "rounds", expected=expected, got=rounds)
    return [draw(n, TRAJS // rounds, HORIZON, generator) for _ in range(rounds)]


def play_and_adapt(
    meta: Meta,
    net: PolicyNet,
    loss: InnerLoss,
    tasks: Tasks,
    draws: Sequence[Draws],
    *,
    differentiable: bool = True,
) -> Adapted:
    """Play in rounds, adapting to all experience after each.

    The start policy plays the first round, the policy adapted to all earlier rounds plays the next;
    sharpness and optimism of a round decide how much it explores. Every adaptation begins at the
    start, since all data are still there.

    Args:
        meta: what is learned.
        net: the policy.
        loss: the inner loss.
        tasks: n tasks.
        draws: the random numbers of each round.
        differentiable: whether an outer loss shall see it.

    Example:
        >>> from metaphys.rl import Tabular, init_meta, sample_tasks, textbook_loss
        >>> net = Tabular(10, 5)
        >>> meta = init_meta(net, lr=300.0)
        >>> adapted = play_and_adapt(meta, net, textbook_loss, sample_tasks(3), draw_rounds(3, 1))
        >>> adapted.log_probs.shape, adapted.seen.trajs.rewards.shape
        (torch.Size([3, 10, 5]), torch.Size([10, 3, 20]))
    """
    n, states, actions = tasks.rewards.shape
    log_probs, values = net.apply(meta.start)
    log_probs = log_probs.expand(n, states, actions)
    parts: list[Trajs] = []
    played: list[Tensor] = []
    for round_, numbers in enumerate(draws):
        parts.append(rollout(tasks, log_probs.detach().exp(), numbers))
        played.append(at(log_probs, parts[-1].states, parts[-1].actions))
        trajs = Trajs(*(torch.cat(each, dim=2) for each in zip(*parts)))
        seen = Seen.of(trajs, torch.cat(played, 2).detach(), states, actions)
        params = adapt(meta, net, seen, loss, round_=round_, differentiable=differentiable)
        log_probs, values = net.apply(params)
    return Adapted(log_probs, values, seen, torch.cat(played, 2).sum((0, 2)))


def sampled_loss(adapted: Adapted, tasks: Tasks, draws: Draws) -> Tensor:
    """The textbook's outer loss: a2c on new trajectories of the adapted policies, summed.

    Example:
        >>> from metaphys.rl import Tabular, init_meta, sample_tasks, learned_loss
        >>> net, tasks, draws = Tabular(10, 5), sample_tasks(3), draw_rounds(3, 1)
        >>> adapted = play_and_adapt(init_meta(net, rounds=1), net, learned_loss, tasks, draws)
        >>> sampled_loss(adapted, tasks, draw(3, 20, 10)).shape
        torch.Size([])
    """
    trajs = rollout(tasks, adapted.log_probs.detach().exp(), draws)
    return a2c(adapted.log_probs, adapted.values, trajs, gamma=GAMMA, lam=LAMBDA).sum()


def exact_loss(adapted: Adapted, tasks: Tasks) -> Tensor:
    """Minus the expected return of the adapted policies, mean over tasks.

    It is computed, not sampled: in meta-training the simulator knows the transitions and mean
    rewards of its tasks. Adaptation never sees them, and nothing does of test tasks.

    Example:
        >>> from metaphys.rl import Tabular, init_meta, sample_tasks, learned_loss
        >>> net, tasks, draws = Tabular(10, 5), sample_tasks(3), draw_rounds(3, 1)
        >>> adapted = play_and_adapt(init_meta(net, rounds=1), net, learned_loss, tasks, draws)
        >>> exact_loss(adapted, tasks).shape
        torch.Size([])
    """
    return -policy_return(tasks, adapted.log_probs.exp(), HORIZON).mean()


def exploration_loss(adapted: Adapted, tasks: Tasks) -> Tensor:
    r"""What :func:`exact_loss` does not see: how meta-parameters decide what is played.

    .. math::
        -\mathrm{mean}\Big[(J - b)\, \square\Big(\sum_t \log \mu(a_t \mid s_t)\Big)\Big],\qquad
        b = J^* + \mathrm{mean}(J - J^*)

    with DiCE's box (:func:`metaphys.rl.magic_box`), the exact return J of the adapted policy and
    the best one J* of the task. The baseline takes out that some tasks are better than others.

    Example:
        >>> from metaphys.rl import Tabular, init_meta, sample_tasks, learned_loss
        >>> net, tasks, draws = Tabular(10, 5), sample_tasks(3), draw_rounds(3, 4)
        >>> adapted = play_and_adapt(init_meta(net, rounds=4), net, learned_loss, tasks, draws)
        >>> exploration_loss(adapted, tasks).shape
        torch.Size([])
    """
    with torch.no_grad():
        found = policy_return(tasks, adapted.log_probs.exp(), HORIZON)
        regret = found - policy_return(tasks, plan(tasks, HORIZON), HORIZON)
        gains = regret - regret.mean()
    return -(gains * magic_box(adapted.likelihood)).mean()


def add_gradients(loss: Tensor, params: Sequence[Tensor]) -> None:
    """Add the gradient of ``loss`` to that of each parameter; the graph stays."""
    found = torch.autograd.grad(loss, list(params), retain_graph=True, allow_unused=True)
    for param, grad in zip(params, found):
        grad = torch.zeros_like(param) if grad is None else grad
        param.grad = grad if param.grad is None else param.grad + grad
