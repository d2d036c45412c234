"""What learned adaptation is compared with: nothing learned, or everything known."""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor

from metaphys.optim import apply_updates, sgd
from metaphys.rl._losses import discounts, td_lambda
from metaphys.rl._mdp import Tasks, Trajs, at, rollout, sample_tasks
from metaphys.rl._outer import HORIZON, draw_rounds
from metaphys.rl._planning import Counts, count, estimated, plan, policy_return
from metaphys.rl._policies import Tabular

RATES = (30.0, 100.0, 300.0, 1000.0, 3000.0)
DISCOUNTS = (0.0, 0.5, 0.95)


def one_large_step(trajs: Trajs, lr: float, gamma: float, states: int, actions: int) -> Tensor:
    r"""One policy-gradient step of a linear softmax policy from the uniform one, nothing learned.

    .. math::
        \theta = \alpha \nabla\, \mathrm{mean}\big((G - \bar G) \log \pi(a \mid s)\big)

    with the discounted returns G of the episode's rest and their mean on the task.

    Args:
        trajs: trajectories of the uniform policy on n tasks.
        lr: the step size α.
        gamma: discount; 0 is myopic.
        states: S.
        actions: A.

    Returns:
        Probabilities (n, S, A).

    Example:
        >>> tasks = sample_tasks(3)
        >>> trajs = uniform_experience(tasks, torch.Generator())
        >>> one_large_step(trajs, lr=1000.0, gamma=0.0, states=10, actions=5).shape
        torch.Size([3, 10, 5])
    """
    n = trajs.states.shape[1]
    net = Tabular(states, actions)
    logits = net.init()["logits"].expand(n, states, actions).clone().requires_grad_()
    log_probs = logits.log_softmax(-1)
    nothing = torch.zeros_like(trajs.rewards)
    returns = td_lambda(trajs.rewards, discounts(trajs, gamma), nothing, 1.0)
    advantages = returns - returns.mean((0, 2), keepdim=True)
    gains = advantages * at(log_probs, trajs.states, trajs.actions)
    loss = -gains.mean((0, 2)).sum()
    rule = sgd(lr)
    updates, _ = rule.update(list(torch.autograd.grad(loss, [logits])), rule.init([logits]))
    return apply_updates([logits], updates, inplace=False)[0].detach().softmax(-1)


def uniform_experience(tasks: Tasks, generator: torch.Generator) -> Trajs:
    """20 trajectories of the uniform policy on each task."""
    n, states, actions = tasks.rewards.shape
    (draws,) = draw_rounds(n, 1, generator)
    return rollout(tasks, tasks.rewards.new_full((states, actions), 1 / actions), draws)


def tuned_step(tasks: Tasks, trajs: Trajs) -> tuple[float, float]:
    """The step size and discount of :func:`one_large_step` that earn most on these tasks."""
    sizes = tasks.rewards.shape[1:]

    def earns(choice: tuple[float, float]) -> float:
        return policy_return(tasks, one_large_step(trajs, *choice, *sizes), HORIZON).mean().item()

    return max(product(RATES, DISCOUNTS), key=earns)


def planner_return(tasks: Tasks, counts: Counts, strength: float = 1.0) -> Tensor:
    """Exact return of planning on the process as estimated from data (certainty equivalence).

    Args:
        tasks: n tasks.
        counts: what was seen of them.
        strength: of the prior, see :func:`metaphys.rl.estimated`: 1 is the posterior mean, and
            nearly 0 the plain frequencies.

    Example:
        >>> tasks = sample_tasks(3)
        >>> planner_return(tasks, count(uniform_experience(tasks, torch.Generator()))).shape
        torch.Size([3])
    """
    return policy_return(tasks, plan(estimated(counts, strength, strength), HORIZON), HORIZON)


def rival_returns(
    tasks: Tasks, generator: torch.Generator, tuning: torch.Generator
) -> dict[str, Tensor]:
    """Exact returns of the rivals on each of n tasks, by name, each (n,).

    Args:
        tasks: n tasks.
        generator: of the uniform policy's trajectories on them.
        tuning: of other tasks, on which the one large step is tuned.

    Example:
        >>> returns = rival_returns(sample_tasks(3), *(torch.Generator() for _ in range(2)))
        >>> list(returns)
        ['random', 'one large step, tuned', 'planner without prior', 'planner', 'optimal']
    """
    states, actions = tasks.rewards.shape[1:]
    others = sample_tasks(500, states=states, actions=actions, generator=tuning)
    choice = tuned_step(others, uniform_experience(others, tuning))
    trajs = uniform_experience(tasks, generator)
    counts = count(trajs, states, actions)
    uniform = tasks.rewards.new_full((states, actions), 1 / actions)
    return {
        "random": policy_return(tasks, uniform, HORIZON),
        "one large step, tuned": policy_return(
            tasks, one_large_step(trajs, *choice, states, actions), HORIZON
        ),
        "planner without prior": planner_return(tasks, counts, 1e-6),
        "planner": planner_return(tasks, counts),
        "optimal": policy_return(tasks, plan(tasks, HORIZON), HORIZON),
    }
