"""The inner loop: gradient steps from a start, with step sizes, that are learned."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from metaphys.optim import apply_updates, sgd
from metaphys.rl._meta import Meta, Seen
from metaphys.rl._policies import Params, PolicyNet

InnerLoss = Callable[[Meta, PolicyNet, Params, Params, Seen, int], Tensor]
"""``loss(meta, net, params, frozen, seen, round)``: a scalar, summed over tasks.

It is differentiated in ``params``; ``frozen`` has the same values.
"""


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

    Example:
        >>> from metaphys.rl import Seen, Tabular, draw, init_meta, rollout, sample_tasks
        >>> from metaphys.rl import learned_loss
        >>> trajs = rollout(sample_tasks(3), torch.full((10, 5), 0.2), draw(3, 20, 10))
        >>> seen = Seen.of(trajs, torch.full_like(trajs.rewards, 0.2).log(), 10, 5)
        >>> net = Tabular(10, 5)
        >>> adapt(init_meta(net), net, seen, learned_loss)["logits"].shape
        torch.Size([3, 10, 5])
    """
    n = seen.trajs.states.shape[1]
    params = {name: value.expand(n, *value.shape) for name, value in meta.start.items()}
    factor = meta.rounds["sharpness"][round_].exp()
    rates = {name: factor * rate.exp() for name, rate in meta.log_rates.items()}
    for step in range(len(next(iter(rates.values())))):
        live = {name: value.clone().requires_grad_() for name, value in params.items()}
        value = loss(meta, net, live, params, seen, round_)
        grads = torch.autograd.grad(value, list(live.values()), create_graph=differentiable)
        rule = sgd({name: rate[step] for name, rate in rates.items()})
        updates, _ = rule.update(dict(zip(live, grads)), rule.init(params), params)
        params = apply_updates(params, updates, inplace=False)
        if not differentiable:
            params = {name: value.detach() for name, value in params.items()}
    return params
