"""The rules that are one function of a leaf, each with its numbers and factors.

``scale`` is the factor of the update; a descent step has -lr there. Every √ has the derivative 0
at 0.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from metaphys.ops._leafwise import LeafOperator
from metaphys.ops._math import masked_reciprocal, masked_sqrt

Moments = tuple[torch.Tensor, ...]
Step = tuple[torch.Tensor, Moments]


def rmsprop_leaf(
    grad: torch.Tensor,
    moments: Moments,
    factors: Any,
    numbers: Any,
    *,
    centered: bool = False,
    traced: bool = False,
) -> Step:
    """RMSprop; numbers alpha, eps, momentum, nesterov (0 or 1), scale; moments v, [m], [b]."""
    alpha, eps, momentum, nesterov, scale = numbers
    nu = variance = alpha * moments[0] + (1 - alpha) * grad * grad
    after = (nu,)
    if centered:
        mu = alpha * moments[1] + (1 - alpha) * grad
        variance = nu - mu * mu
        after = (nu, mu)
    direction = grad / (masked_sqrt(variance) + eps)
    if traced:
        trace = momentum * moments[-1] + direction
        direction = direction + momentum * trace if nesterov else trace
        after = (*after, trace)
    return scale * direction, after


def adadelta_leaf(grad: torch.Tensor, moments: Moments, factors: Any, numbers: Any) -> Step:
    """Adadelta; numbers rho, eps, scale; moments v and s."""
    (nu, delta), (rho, eps, scale) = moments, numbers
    nu = rho * nu + (1 - rho) * grad * grad
    direction = masked_sqrt(delta + eps) * masked_reciprocal(masked_sqrt(nu + eps)) * grad
    return scale * direction, (nu, rho * delta + (1 - rho) * direction * direction)


def adagrad_leaf(grad: torch.Tensor, moments: Moments, factors: Any, numbers: Any) -> Step:
    """Adagrad; numbers eps, scale; factor 1 / (1 + (t - 1) lr_decay); moment s."""
    eps, scale = numbers
    total = moments[0] + grad * grad
    return scale * factors[0] * grad / (masked_sqrt(total) + eps), (total,)


def adamax_leaf(grad: torch.Tensor, moments: Moments, factors: Any, numbers: Any) -> Step:
    """Adamax; numbers b1, b2, eps, scale; factor 1 - b1^t; moments m and the norm."""
    b1, b2, eps, scale = numbers
    mu = b1 * moments[0] + (1 - b1) * grad
    # |g| has the derivative 0 at 0, and ε keeps the norm away from it.
    norm = torch.maximum(b2 * moments[1], grad.abs() + eps)
    return scale * mu / (factors[0] * norm), (mu, norm)


def nadam_leaf(grad: torch.Tensor, moments: Moments, factors: Any, numbers: Any) -> Step:
    """NAdam; numbers b1, b2, eps, scale; factors of m' and g, and 1 - b2^t; moments m, v."""
    (b1, b2, eps, scale), (ahead, here, c2) = numbers, factors
    mu = b1 * moments[0] + (1 - b1) * grad
    nu = b2 * moments[1] + (1 - b2) * grad * grad
    return scale * (ahead * mu + here * grad) / (masked_sqrt(nu / c2) + eps), (mu, nu)


def radam_leaf(grad: torch.Tensor, moments: Moments, factors: Any, numbers: Any) -> Step:
    """RAdam; numbers b1, b2, eps, scale; factors 1 - b1^t, r and plain; moments m, v."""
    (b1, b2, eps, scale), (c1, adaptive, plain) = numbers, factors
    mu = b1 * moments[0] + (1 - b1) * grad
    nu = b2 * moments[1] + (1 - b2) * grad * grad
    # A reciprocal that is 0 at 0: without ε the plain phase must not see the root's zero.
    inverse = masked_reciprocal(masked_sqrt(nu) + eps)
    return scale * mu / c1 * (adaptive * inverse + plain), (mu, nu)


def lion_leaf(grad: torch.Tensor, moments: Moments, factors: Any, numbers: Any) -> Step:
    """Lion; numbers b1, b2, scale; moment m."""
    b1, b2, scale = numbers
    mean = b1 * moments[0] + (1 - b1) * grad
    # torch's sign of what is not a number is 0: a step that hides it.
    direction = torch.where(mean.isnan(), mean.detach(), torch.sign(mean))
    return scale * direction, (b2 * moments[0] + (1 - b2) * grad,)


RMSPROP = {
    # (centered, with momentum)
    (False, False): LeafOperator("rmsprop", rmsprop_leaf),
    (False, True): LeafOperator("rmsprop_momentum", partial(rmsprop_leaf, traced=True)),
    (True, False): LeafOperator("rmsprop_centered", partial(rmsprop_leaf, centered=True)),
    (True, True): LeafOperator(
        "rmsprop_centered_momentum", partial(rmsprop_leaf, centered=True, traced=True)
    ),
}
ADADELTA = LeafOperator("adadelta", adadelta_leaf)
ADAGRAD = LeafOperator("adagrad", adagrad_leaf)
ADAMAX = LeafOperator("adamax", adamax_leaf)
NADAM = LeafOperator("nadam", nadam_leaf)
RADAM = LeafOperator("radam", radam_leaf)
LION = LeafOperator("lion", lion_leaf)
