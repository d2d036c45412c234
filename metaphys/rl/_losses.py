"""Returns, the actor-critic loss and its surroundings, batched over tasks."""

from __future__ import annotations

import torch
from torch import Tensor

from metaphys.rl._mdp import Trajs, at


def discounts(trajs: Trajs, gamma: Tensor | float) -> Tensor:
    """γ at each step (T, 1, 1), and 0 at the last: the episode is over there.

    Example:
        >>> from metaphys.rl import draw, rollout, sample_tasks
        >>> trajs = rollout(sample_tasks(2), torch.full((10, 5), 0.2), draw(2, 1, 3))
        >>> discounts(trajs, 0.5).flatten()
        tensor([0.5000, 0.5000, 0.0000])
    """
    steps = len(trajs.rewards)
    running = (torch.arange(steps) < steps - 1).to(trajs.rewards.dtype)
    return (gamma * running).view(-1, 1, 1)


def td_lambda(rewards: Tensor, gammas: Tensor, next_values: Tensor, lam: Tensor | float) -> Tensor:
    r"""TD(λ) returns, from the last step backwards (Sutton and Barto 2018, Eq. 12.2).

    .. math::
        G_t = r_t + \gamma_t \left[(1 - \lambda) V(s_{t+1}) + \lambda G_{t+1}\right]

    Args:
        rewards: r (T, ...).
        gammas: γ_t, broadcast to the rewards.
        next_values: V(s_{t+1}) (T, ...).
        lam: λ; with a tensor (T, ...) one for what follows each step.

    Returns:
        G (T, ...).

    Example:
        >>> ones = torch.ones(3)
        >>> td_lambda(ones, torch.tensor([0.5, 0.5, 0.0]), torch.zeros(3), 1.0)
        tensor([1.7500, 1.5000, 1.0000])
    """
    lam = torch.as_tensor(lam, dtype=rewards.dtype)
    lams = lam.expand(rewards.shape) if lam.ndim else lam.expand(len(rewards))
    gammas = gammas.expand(len(gammas), *[-1] * (gammas.ndim - 1))
    returns: list[Tensor] = []
    following = next_values[-1]
    for t in reversed(range(len(rewards))):
        following = rewards[t] + gammas[t] * ((1 - lams[t]) * next_values[t] + lams[t] * following)
        returns.append(following)
    return torch.stack(returns[::-1])


def a2c(
    log_probs: Tensor,
    values: Tensor,
    trajs: Trajs,
    *,
    gamma: float,
    lam: float,
    value_coef: float = 0.5,
    ratios: Tensor | None = None,
) -> Tensor:
    r"""The advantage actor-critic loss of each task.

    .. math::
        L = -\mathrm{mean}\big(\mathrm{stopgrad}(A) \log \pi(a \mid s)\big)
            + c\, \mathrm{mean}\big(A^2\big),\qquad A = \mathrm{stopgrad}(G) - V(s)

    Args:
        log_probs: log π, (n, S, A) or (1, S, A).
        values: V, (n, S) or (1, S).
        trajs: trajectories on n tasks.
        gamma: discount.
        lam: λ of the returns.
        value_coef: c.
        ratios: :func:`importance` weights (T, n, N), to take the place of log π; with them the
            loss may be stepped on again after the policy has moved away from the one that played.

    Returns:
        (n,).

    Example:
        >>> from metaphys.rl import MLP, draw, rollout, sample_tasks
        >>> net = MLP(10, 5)
        >>> log_probs, values = (table.unsqueeze(0) for table in net.apply(net.init()))
        >>> trajs = rollout(sample_tasks(3), log_probs[0].exp(), draw(3, trajs=20, steps=10))
        >>> a2c(log_probs, values, trajs, gamma=0.99, lam=0.95).shape
        torch.Size([3])
    """
    next_values = at(values, trajs.next_states).detach()
    returns = td_lambda(trajs.rewards, discounts(trajs, gamma), next_values, lam)
    advantages = returns - at(values, trajs.states)
    gains = at(log_probs, trajs.states, trajs.actions) if ratios is None else ratios
    gains = advantages.detach() * gains
    return (value_coef * advantages.square() - gains).mean((0, 2))


def importance(log_probs: Tensor, played: Tensor, trajs: Trajs) -> Tensor:
    r"""How much likelier each action has become, :math:`\pi(a \mid s) / \mu(a \mid s)`.

    A gradient of :math:`\rho\, \mathrm{stopgrad}(A)` is that of the return to first order in the
    change of the policy; without the weights, a second step on the same data goes the wrong way
    once the policy has moved.

    Args:
        log_probs: log π, (n, S, A).
        played: log μ(a | s) of the actions under the policy that played (T, n, N).
        trajs: trajectories.

    Returns:
        (T, n, N), with a graph to ``log_probs``.

    Example:
        >>> from metaphys.rl import draw, rollout, sample_tasks
        >>> trajs = rollout(sample_tasks(2), torch.full((10, 5), 0.2), draw(2, 1, 10))
        >>> log_probs = torch.full((2, 10, 5), 0.4).log()
        >>> played = torch.full_like(trajs.rewards, 0.2).log()
        >>> importance(log_probs, played, trajs).mean().round(decimals=3)
        tensor(2.)
    """
    now = at(log_probs, trajs.states, trajs.actions)
    return (now - played.detach()).exp()


def magic_box(log_likelihood: Tensor) -> Tensor:
    r"""1, with the derivative of the log-likelihood: DiCE (Foerster et al. 2018, Eq. 5).

    .. math::
        \exp(\tau - \mathrm{stopgrad}(\tau))

    MAML's gradient as it is usually computed drops how the start parameters decide what data the
    inner loop sees. A loss times this has that term, to every order.

    Example:
        >>> tau = torch.tensor(3.0, requires_grad=True)
        >>> torch.autograd.grad(5 * magic_box(tau), tau)
        (tensor(5.),)
    """
    return (log_likelihood - log_likelihood.detach()).exp()
