"""Adam's update as a multi-tensor operator: schema, reference, derivative, in-place form.

Kingma & Ba, "Adam: a method for stochastic optimization", arXiv 1412.6980, Algorithm 1, with
optax's ``eps_root`` inside the root:

    m' = b1 m + (1 - b1) g          v' = b2 v + (1 - b2) g²
    u  = scale · (m' / c1) / (√(v' / c2 + eps_root) + eps),    c1 = 1 - b1^t,  c2 = 1 - b2^t

√ has no derivative at 0. Where v' / c2 + eps_root is exactly 0 its derivative is taken as 0, so
that a gradient entry of exactly zero at the first step gives ∂u/∂g = scale / eps, not NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from metaphys._typing import Scalar, Tensors
from metaphys.ops._checks import check_lists
from metaphys.ops._fused import Config, Flat, Kernel, fresh, register_derivative, written
from metaphys.ops._library import LIBRARY
from metaphys.ops._math import bias_corrections, cast, masked_reciprocal, masked_sqrt

_HYPER = "float b1, float b2, float eps, float eps_root, float scale"
LIBRARY.define(
    f"adam(Tensor[] grads, Tensor[] mu, Tensor[] nu, Tensor count, {_HYPER})"
    " -> (Tensor[], Tensor[], Tensor[])"
)
LIBRARY.define(
    "adam_vjp(Tensor[] cot_updates, Tensor[] cot_mu, Tensor[] cot_nu, Tensor[] grads,"
    f" Tensor[] mu, Tensor[] nu, Tensor count, {_HYPER}) -> (Tensor[], Tensor[], Tensor[])"
)
LIBRARY.define(
    "adam_(Tensor(a!)[] params, Tensor[] grads, Tensor(b!)[] mu, Tensor(c!)[] nu, Tensor count,"
    f" {_HYPER}, float weight_decay, bool decoupled, bool maximize) -> ()"
)


def adam_reference(
    grads: Tensors,
    mu: Tensors,
    nu: Tensors,
    count: torch.Tensor,
    b1: Scalar,
    b2: Scalar,
    eps: Scalar,
    eps_root: Scalar,
    scale: Scalar,
) -> tuple[list[torch.Tensor], list[torch.Tensor], list[torch.Tensor]]:
    """The mathematics above, leaf by leaf, differentiable in every tensor argument."""
    updates, new_mu, new_nu = [], [], []
    corrections = zip(bias_corrections(b1, count), bias_corrections(b2, count))
    for grad, m, v, (c1, c2) in zip(grads, mu, nu, corrections):
        dtype = m.dtype
        g = grad.to(dtype)
        d1, d2 = cast(b1, dtype), cast(b2, dtype)
        m = d1 * m + (1 - d1) * g
        v = d2 * v + (1 - d2) * g * g
        root = masked_sqrt(v / c2.to(dtype) + cast(eps_root, dtype))
        update = cast(scale, dtype) * (m / c1.to(dtype)) / (root + cast(eps, dtype))
        updates.append(update.to(grad.dtype))
        new_mu.append(m)
        new_nu.append(v)
    return updates, new_mu, new_nu


def amsgrad_reference(
    grads: Tensors,
    mu: Tensors,
    nu: Tensors,
    max_nu: Tensors,
    count: torch.Tensor,
    b1: Scalar,
    b2: Scalar,
    eps: Scalar,
    eps_root: Scalar,
    scale: Scalar,
) -> tuple[list[torch.Tensor], ...]:
    """Adam with the largest second moment so far under the root; it has no kernel.

    Reddi, Kale & Kumar, arXiv 1904.09237, Algorithm 2, with bias corrections as torch.optim has
    them: that of v is applied to its maximum.
    """
    updates, new_mu, new_nu, new_max = [], [], [], []
    corrections = zip(bias_corrections(b1, count), bias_corrections(b2, count))
    for grad, m, v, most, (c1, c2) in zip(grads, mu, nu, max_nu, corrections):
        dtype = m.dtype
        g = grad.to(dtype)
        d1, d2 = cast(b1, dtype), cast(b2, dtype)
        m = d1 * m + (1 - d1) * g
        v = d2 * v + (1 - d2) * g * g
        most = torch.maximum(most, v)
        root = masked_sqrt(most / c2.to(dtype) + cast(eps_root, dtype))
        update = cast(scale, dtype) * (m / c1.to(dtype)) / (root + cast(eps, dtype))
        updates.append(update.to(grad.dtype))
        for new, value in ((new_mu, m), (new_nu, v), (new_max, most)):
            new.append(value)
    return updates, new_mu, new_nu, new_max


def adam_vjp_reference(
    cot_updates: Tensors,
    cot_mu: Tensors,
    cot_nu: Tensors,
    grads: Tensors,
    mu: Tensors,
    nu: Tensors,
    count: torch.Tensor,
    b1: float,
    b2: float,
    eps: float,
    eps_root: float,
    scale: float,
) -> tuple[list[torch.Tensor], list[torch.Tensor], list[torch.Tensor]]:
    """Cotangents of (grads, mu, nu); here ``mu`` and ``nu`` are the *new* moments."""
    on_grads, on_mu, on_nu = [], [], []
    corrections = zip(bias_corrections(b1, count), bias_corrections(b2, count))
    leaves = zip(cot_updates, cot_mu, cot_nu, grads, mu, nu, corrections)
    for cot_u, cot_m, cot_v, grad, m, v, (c1, c2) in leaves:
        c1, c2 = c1.to(m.dtype), c2.to(v.dtype)
        root = masked_sqrt(v / c2 + eps_root)
        by_m = cot_u.to(m.dtype) * scale / (c1 * (root + eps))
        on_m = cot_m + by_m
        on_v = cot_v - by_m * m / (root + eps) * masked_reciprocal(2 * c2 * root)
        on_grads.append(((1 - b1) * on_m + 2 * (1 - b2) * grad.to(m.dtype) * on_v).to(grad.dtype))
        on_mu.append(b1 * on_m)
        on_nu.append(b2 * on_v)
    return on_grads, on_mu, on_nu


def _adam_in_place(
    params: Tensors,
    grads: Tensors,
    mu: Tensors,
    nu: Tensors,
    count: torch.Tensor,
    b1: float,
    b2: float,
    eps: float,
    eps_root: float,
    scale: float,
    weight_decay: float,
    decoupled: bool,
    maximize: bool,
) -> None:
    signed = [-grad if maximize else grad for grad in grads]
    if weight_decay and not decoupled:
        signed = [g.add(p, alpha=weight_decay) for g, p in zip(signed, params)]
    hyper = (b1, b2, eps, eps_root, scale)
    updates, new_mu, new_nu = adam_reference(signed, mu, nu, count, *hyper)
    for param, update in zip(params, updates):
        if weight_decay and decoupled:
            update = update.add(param, alpha=scale * weight_decay)
        param.add_(update)
    for old, new in (*zip(mu, new_mu), *zip(nu, new_nu)):
        old.copy_(new)


LIBRARY.impl("adam", fresh(adam_reference), "CompositeExplicitAutograd")
LIBRARY.impl("adam_vjp", fresh(adam_vjp_reference), "CompositeExplicitAutograd")
LIBRARY.impl("adam_", fresh(_adam_in_place), "CompositeExplicitAutograd")


def _parts(tensors: Flat, parts: int) -> tuple[Flat, ...]:
    n = len(tensors) // parts
    return tuple(tensors[i * n : (i + 1) * n] for i in range(parts))


def _on_flat(function: Callable[..., Any], parts: int) -> Callable[[Config, Flat], Flat]:
    """A function of lists and the step counts as one of a flat tuple."""

    def flat(config: Config, tensors: Flat) -> Flat:
        first, second, third = function(*_parts(tensors[:-1], parts), tensors[-1], *config)
        return (*first, *second, *third)

    return flat


def _residuals(config: Config, inputs: Flat, outputs: Flat) -> Flat:
    n = len(outputs) // 3
    return (*inputs[:n], *outputs[n:], inputs[-1])


def _vjp(config: Config, residuals: Flat, cotangents: Flat) -> Sequence[torch.Tensor | None]:
    return (*ADAM_VJP(config, (*cotangents, *residuals)), None)


ADAM_VJP = Kernel(_on_flat(torch.ops.metaphys.adam_vjp.default, 6), _on_flat(adam_vjp_reference, 6))
ADAM = Kernel(
    _on_flat(torch.ops.metaphys.adam.default, 3),
    _on_flat(adam_reference, 3),
    _residuals,
    _vjp,
    numbers=5,
)
register_derivative("adam", ADAM, lists=3)


def adam(
    grads: Tensors,
    mu: Tensors,
    nu: Tensors,
    count: torch.Tensor,
    *,
    b1: Scalar,
    b2: Scalar,
    eps: Scalar,
    eps_root: Scalar = 0.0,
    scale: Scalar = 1.0,
) -> tuple[Flat, ...]:
    """Adam's update of a list of tensors, differentiable to any order.

    Args:
        grads: gradients g, any shapes, layouts and mix of dtypes.
        mu: first moments m, of the gradients' shapes; float32 for half-precision gradients.
        nu: second moments v, likewise.
        count: steps taken by each leaf, this one included; int64 (len(grads),) on the CPU.
        b1: decay of the first moment, in [0, 1).
        b2: decay of the second moment, in [0, 1).
        eps: added to the root.
        eps_root: added under the root.
        scale: factor of the update; a descent step has -lr here.

    Returns:
        The updates u, the new first and the new second moments.

    Raises:
        ValueError: if the lists differ in length, or a leaf in shape or dtype.

    Example:
        >>> import torch
        >>> from metaphys import ops
        >>> g = [torch.tensor([3.0])]
        >>> zero = [torch.zeros(1)]
        >>> u, m, v = ops.adam(g, zero, zero, torch.tensor([1]), b1=0.5, b2=0.75, eps=0.0)
        >>> u[0]
        tensor([1.])
    """
    check_lists(grads, count, values={}, state={"mu": mu, "nu": nu})
    config = (b1, b2, eps, eps_root, scale)
    return _parts(ADAM(config, (*grads, *mu, *nu, count)), 3)


def adam_(
    params: Tensors,
    grads: Tensors,
    mu: Tensors,
    nu: Tensors,
    count: torch.Tensor,
    *,
    b1: float,
    b2: float,
    eps: float,
    eps_root: float,
    scale: float,
    weight_decay: float,
    decoupled: bool,
    maximize: bool,
) -> None:
    """One Adam step in place, without a graph: writes ``params``, ``mu`` and ``nu``.

    Args:
        params: parameters of the gradients' shapes and dtypes.
        grads: see :func:`adam`.
        mu: see :func:`adam`.
        nu: see :func:`adam`.
        count: see :func:`adam`.
        b1: see :func:`adam`.
        b2: see :func:`adam`.
        eps: see :func:`adam`.
        eps_root: see :func:`adam`.
        scale: see :func:`adam`.
        weight_decay: factor of the parameters.
        decoupled: take ``scale · weight_decay · p`` off the parameter itself (AdamW) instead of
            adding ``weight_decay · p`` to the gradient.
        maximize: use -g.

    Raises:
        ValueError: as :func:`adam`; nothing is written then.

    Example:
        >>> import torch
        >>> from metaphys import ops
        >>> p, m, v = ([torch.zeros(1)] for _ in range(3))
        >>> ops.adam_(p, [torch.ones(1)], m, v, torch.tensor([1]), b1=0.9, b2=0.999, eps=0.0,
        ...           eps_root=0.0, scale=-0.5, weight_decay=0.0, decoupled=False, maximize=False)
        >>> p[0]
        tensor([-0.5000])
    """
    check_lists(grads, count, values={"params": params}, state={"mu": mu, "nu": nu})
    config = (b1, b2, eps, eps_root, scale, weight_decay, decoupled, maximize)
    torch.ops.metaphys.adam_(params, grads, mu, nu, count, *config)
    written(params, mu, nu)
