"""Losses that an inner loop descends on: the textbook's, and one that is learned."""

from __future__ import annotations

from torch import Tensor

from metaphys.rl._losses import a2c, discounts, importance, td_lambda
from metaphys.rl._mdp import at
from metaphys.rl._meta import Meta, Seen
from metaphys.rl._policies import Params, PolicyNet

GAMMA = 0.99
LAMBDA = 0.95


def textbook_loss(
    meta: Meta, net: PolicyNet, params: Params, frozen: Params, seen: Seen, round_: int = -1
) -> Tensor:
    """:func:`metaphys.rl.a2c` with γ = 0.99 and λ = 0.95; nothing in it is learned.

    Example:
        >>> from metaphys.rl import Tabular, draw_rounds, init_meta, play_and_adapt, sample_tasks
        >>> net = Tabular(10, 5)
        >>> meta, tasks = init_meta(net, steps=1, lr=300.0), sample_tasks(3)
        >>> adapted = play_and_adapt(meta, net, textbook_loss, tasks, draw_rounds(3, 1))
        >>> adapted.log_probs.shape
        torch.Size([3, 10, 5])
    """
    return a2c(*net.apply(params), seen.trajs, gamma=GAMMA, lam=LAMBDA).sum()


def weighted_loss(
    meta: Meta, net: PolicyNet, params: Params, frozen: Params, seen: Seen, round_: int = -1
) -> Tensor:
    """:func:`textbook_loss` with importance weights, for several steps on the same data.

    Example:
        >>> from metaphys.rl import Tabular, draw_rounds, init_meta, play_and_adapt, sample_tasks
        >>> net = Tabular(10, 5)
        >>> meta, tasks = init_meta(net, steps=3, lr=100.0), sample_tasks(3)
        >>> adapted = play_and_adapt(meta, net, weighted_loss, tasks, draw_rounds(3, 1))
        >>> adapted.log_probs.shape
        torch.Size([3, 10, 5])
    """
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

    Example:
        >>> from metaphys.rl import Tabular, draw_rounds, init_meta, play_and_adapt, sample_tasks
        >>> net = Tabular(10, 5)
        >>> meta, tasks = init_meta(net, steps=1, lr=10.0), sample_tasks(3)
        >>> adapted = play_and_adapt(meta, net, learned_loss, tasks, draw_rounds(3, 1))
        >>> adapted.log_probs.shape
        torch.Size([3, 10, 5])
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
