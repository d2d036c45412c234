"""Inner loops: gradient steps from a start that is learned, on a loss that may be learned too."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from metaphys.optim import apply_updates, sgd
from metaphys.rl._losses import a2c, discounts, importance, td_lambda
from metaphys.rl._mdp import Trajs, at
from metaphys.rl._planning import Counts, count
from metaphys.rl._policies import Params, PolicyNet

GAMMA = 0.99
LAMBDA = 0.95


@dataclass(frozen=True)
class Meta:
    """Everything that an outer loop may learn.

    Attributes:
        start: parameters to adapt from.
        log_rates: logarithms of the step sizes, (K, ...) for each parameter: one for each of K
            steps and each entry.
        loss: 0-d tensors of :func:`learned_loss`: ``discount`` and ``trace``, the logits of γ and
            λ, and ``pairs`` and ``states``, the logarithms of κ and κ_V.
        rounds: ``sharpness`` and ``bonus``, (R,) each: the logarithm of a factor on all step
            sizes, and the optimism η, of each of R rounds.
    """

    start: Params
    log_rates: Params
    loss: Params
    rounds: Params

    def groups(self) -> dict[str, list[Tensor]]:
        """The tensors by the names of the attributes."""
        return {name: list(getattr(self, name).values()) for name in self.__dataclass_fields__}


def init_meta(
    net: PolicyNet,
    *,
    steps: int = 1,
    rounds: int = 1,
    lr: float = 0.1,
    generator: torch.Generator | None = None,
) -> Meta:
    """What is learned, before it is: γ = 0.9, λ = 0.95, shrinkage by one observation, no optimism.

    Args:
        net: the policy.
        steps: K, gradient steps in a round.
        rounds: R.
        lr: the step size of every entry.
        generator: of the start.

    Example:
        >>> from metaphys.rl import Tabular
        >>> meta = init_meta(Tabular(10, 5), steps=3, lr=0.1)
        >>> meta.log_rates["logits"].shape
        torch.Size([3, 10, 5])
    """
    start = net.init(generator)
    rates = {name: torch.full((steps, *p.shape), math.log(lr)) for name, p in start.items()}
    shares = {"discount": 0.9, "trace": 0.95}
    loss = {name: torch.tensor(math.log(share / (1 - share))) for name, share in shares.items()}
    loss |= {name: torch.tensor(0.0) for name in ("pairs", "states")}
    of_rounds = {name: torch.zeros(rounds) for name in ("sharpness", "bonus")}
    for tensors in (start, rates, loss, of_rounds):
        for tensor in tensors.values():
            tensor.requires_grad_()
    return Meta(start, rates, loss, of_rounds)


@dataclass(frozen=True)
class Seen:
    """What an agent has experienced on n tasks.

    Attributes:
        trajs: trajectories.
        played: log μ(a | s) of each action under the policy that chose it (T, n, N).
        counts: what the trajectories tell.
    """

    trajs: Trajs
    played: Tensor
    counts: Counts

    @classmethod
    def of(cls, trajs: Trajs, played: Tensor, states: int, actions: int) -> Seen:
        """With the counts made."""
        return cls(trajs, played, count(trajs, states, actions))


InnerLoss = Callable[[Meta, PolicyNet, Params, Params, Seen, int], Tensor]
"""``loss(meta, net, params, frozen, seen, round)``: a scalar, summed over tasks.

It is differentiated in ``params``; ``frozen`` has the same values.
"""


def textbook_loss(
    meta: Meta, net: PolicyNet, params: Params, frozen: Params, seen: Seen, round_: int = -1
) -> Tensor:
    """:func:`metaphys.rl.a2c` with γ = 0.99 and λ = 0.95; nothing in it is learned."""
    return a2c(*net.apply(params), seen.trajs, gamma=GAMMA, lam=LAMBDA).sum()


def weighted_loss(
    meta: Meta, net: PolicyNet, params: Params, frozen: Params, seen: Seen, round_: int = -1
) -> Tensor:
    """:func:`textbook_loss` with importance weights, for several steps on the same data."""
    log_probs, values = net.apply(params)
    ratios = importance(log_probs, seen.played, seen.trajs)
    return a2c(log_probs, values, seen.trajs, gamma=GAMMA, lam=LAMBDA, ratios=ratios).sum()


def learned_loss(
    meta: Meta, net: PolicyNet, params: Params, frozen: Params, seen: Seen, round_: int = -1
) -> Tensor:
    r"""An actor-critic loss whose horizon, shrinkage and optimism are learned.

    .. math::
        L = \sum_t \Big[-\frac{\rho(s_t, a_t) A_t}{n(s_t, a_t) + \kappa}
            + \frac{(G_t - V(s_t))^2}{2\,(n(s_t) + \kappa_V)}\Big]
            - \eta \sum_{s, a} \frac{\rho(s, a)}{\sqrt{n(s, a) + 1}},\qquad
        \rho(s, a) = \frac{\pi(a \mid s)}{\pi_0(a \mid s)}

    with A = G - V(s), the TD(λ) returns G of discount γ, the policy π₀ of the start and the number
    n of visits. Dividing by n makes a pair count by its mean advantage, whichever policy chose it:
    importance weights whose behaviour policy is what was observed. One step from the uniform policy
    then moves a logit by n / (n + κ) times the mean advantage, as the posterior mean of a
    reward would; a mean over all steps moves it by n times as much. The last term is optimism about
    what was rarely tried. No transition is estimated: this is no planner.

    Args:
        meta: γ, λ, κ, κ_V and η.
        net: the policy.
        params: what the loss is differentiated in.
        frozen: the same values, for G and A: the inner gradient does not see how these depend on
            the parameters, the outer one does.
        seen: the experience.
        round_: which η.

    Returns:
        A scalar, summed over tasks.
    """
    trajs, visits = seen.trajs, seen.counts.visits
    log_probs, values = net.apply(params)
    _, old = net.apply(frozen)
    targets = td_lambda(
        trajs.rewards,
        discounts(trajs, meta.loss["discount"].sigmoid()),
        at(old, trajs.next_states),
        meta.loss["trace"].sigmoid(),
    )
    advantages = targets - at(old, trajs.states)
    ratios = (log_probs - net.apply(meta.start)[0].detach()).exp()
    of_pairs = at(visits, trajs.states, trajs.actions) + meta.loss["pairs"].exp()
    of_states = at(visits.sum(-1), trajs.states) + meta.loss["states"].exp()
    actor = at(ratios, trajs.states, trajs.actions) * advantages / of_pairs
    critic = (targets - at(values, trajs.states)).square() / (2 * of_states)
    optimism = (ratios / (visits + 1).sqrt()).sum()
    return (critic - actor).sum() - meta.rounds["bonus"][round_] * optimism


def adapt(
    meta: Meta,
    net: PolicyNet,
    seen: Seen,
    loss: InnerLoss,
    *,
    round_: int = -1,
    differentiable: bool = True,
) -> Params:
    r"""The start after K steps of gradient descent for each task.

    .. math::
        \theta_{k+1} = \theta_k - e^{\sigma} \alpha_k \odot \nabla L(\theta_k)

    Args:
        meta: the start, the step sizes α, and the sharpness σ of the round.
        net: the policy.
        seen: the experience on n tasks.
        loss: what to descend on.
        round_: which round, for σ and the loss.
        differentiable: whether an outer loss shall see the steps.

    Returns:
        Parameters with a leading dimension of n tasks.
    """
    n = seen.trajs.states.shape[1]
    params = {name: value.expand(n, *value.shape) for name, value in meta.start.items()}
    factor = meta.rounds["sharpness"][round_].exp()
    rates = {name: factor * rate.exp() for name, rate in meta.log_rates.items()}
    for step in range(len(next(iter(rates.values())))):
        live = {name: value.clone() for name, value in params.items()}
        value = loss(meta, net, live, params, seen, round_)
        grads = torch.autograd.grad(value, list(live.values()), create_graph=differentiable)
        rule = sgd({name: rate[step] for name, rate in rates.items()})
        updates, _ = rule.update(dict(zip(live, grads)), rule.init(params), params)
        params = apply_updates(params, updates, inplace=False)
        if not differentiable:
            params = {name: value.detach().requires_grad_() for name, value in params.items()}
    return params
