"""SGD with momentum as a multi-tensor operator: schema, reference, derivative, in-place form.

As torch.optim.SGD (Sutskever et al. 2013, with the learning rate outside the trace):

    b' = momentum · b + keep · g      keep = 1 at a leaf's first step, 1 - dampening later
    u  = scale · b'                   (Nesterov: u = scale · (g + momentum · b'))

and u = scale · g without momentum, when the list of traces is empty.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from metaphys._typing import Scalar, Tensors
from metaphys.ops._checks import check_lists
from metaphys.ops._fused import Config, Flat, Kernel, fresh, register_derivative, written
from metaphys.ops._library import LIBRARY
from metaphys.ops._math import as_double, beside, cast

_HYPER = "float momentum, float dampening, bool nesterov, float scale"
LIBRARY.define(
    f"sgd(Tensor[] grads, Tensor[] trace, Tensor count, {_HYPER}) -> (Tensor[], Tensor[])"
)
LIBRARY.define(
    "sgd_vjp(Tensor[] cot_updates, Tensor[] cot_trace, Tensor count,"
    f" {_HYPER}) -> (Tensor[], Tensor[])"
)
LIBRARY.define(
    "sgd_(Tensor(a!)[] params, Tensor[] grads, Tensor(b!)[] trace, Tensor count,"
    f" {_HYPER}, float weight_decay, bool maximize) -> ()"
)

Pair = tuple[list[torch.Tensor], list[torch.Tensor]]


def _kept(dampening: Scalar, count: torch.Tensor) -> Sequence[Scalar]:
    """How much of the gradient enters each leaf's trace."""
    if isinstance(dampening, (float, int)) and dampening == 0:
        return [1.0] * len(count)
    rate = as_double(dampening, count.device)
    later = (beside(rate, count) > 1).to(torch.float64)
    return (1.0 - later * rate).unbind(0)


def sgd_reference(
    grads: Tensors,
    trace: Tensors,
    count: torch.Tensor,
    momentum: Scalar,
    dampening: Scalar,
    nesterov: bool,
    scale: Scalar,
) -> Pair:
    """The mathematics above, leaf by leaf, differentiable in every tensor argument."""
    if not trace:
        return [(scale * grad).to(grad.dtype) for grad in grads], []
    updates, new_trace = [], []
    for grad, old, keep in zip(grads, trace, _kept(dampening, count)):
        g = grad.to(old.dtype)
        decay = cast(momentum, old.dtype)
        new = decay * old + cast(keep, old.dtype) * g
        direction = g + decay * new if nesterov else new
        updates.append((scale * direction).to(grad.dtype))
        new_trace.append(new)
    return updates, new_trace


def sgd_vjp_reference(
    cot_updates: Tensors,
    cot_trace: Tensors,
    count: torch.Tensor,
    momentum: float,
    dampening: float,
    nesterov: bool,
    scale: float,
) -> Pair:
    """Cotangents of (grads, trace); the rule is linear, so they do not depend on either."""
    if not cot_trace:
        return [(scale * cot).to(cot.dtype) for cot in cot_updates], []
    on_grads, on_trace = [], []
    for cot, cot_b, keep in zip(cot_updates, cot_trace, _kept(dampening, count)):
        cot_u = scale * cot.to(cot_b.dtype)
        total = cot_b + (momentum * cot_u if nesterov else cot_u)
        direct = cot_u if nesterov else 0.0
        on_grads.append((direct + cast(keep, cot_b.dtype) * total).to(cot.dtype))
        on_trace.append(momentum * total)
    return on_grads, on_trace


def _sgd_in_place(
    params: Tensors,
    grads: Tensors,
    trace: Tensors,
    count: torch.Tensor,
    momentum: float,
    dampening: float,
    nesterov: bool,
    scale: float,
    weight_decay: float,
    maximize: bool,
) -> None:
    signed = [-grad if maximize else grad for grad in grads]
    if weight_decay:
        signed = [g.add(p, alpha=weight_decay) for g, p in zip(signed, params)]
    updates, new_trace = sgd_reference(signed, trace, count, momentum, dampening, nesterov, scale)
    for param, update in zip(params, updates):
        param.add_(update)
    for old, new in zip(trace, new_trace):
        old.copy_(new)


LIBRARY.impl("sgd", fresh(sgd_reference), "CompositeExplicitAutograd")
LIBRARY.impl("sgd_vjp", fresh(sgd_vjp_reference), "CompositeExplicitAutograd")
LIBRARY.impl("sgd_", fresh(_sgd_in_place), "CompositeExplicitAutograd")


def _halves(tensors: Flat, traced: bool) -> tuple[Flat, Flat]:
    n = len(tensors) // 2 if traced else len(tensors)
    return tensors[:n], tensors[n:]


def _on_flat(function):
    """A function of two lists and the step counts as one of a flat tuple."""

    def flat(config: Config, tensors: Flat) -> Flat:
        traced, *hyper = config
        first, second = function(*_halves(tensors[:-1], traced), tensors[-1], *hyper)
        return (*first, *second)

    return flat


def _residuals(config: Config, inputs: Flat, outputs: Flat) -> Flat:
    return inputs[-1:]


def _vjp(config: Config, residuals: Flat, cotangents: Flat) -> Sequence[torch.Tensor | None]:
    return (*SGD_VJP(config, (*cotangents, *residuals)), None)


SGD_VJP = Kernel(_on_flat(torch.ops.metaphys.sgd_vjp.default), _on_flat(sgd_vjp_reference))
SGD = Kernel(
    _on_flat(torch.ops.metaphys.sgd.default),
    _on_flat(sgd_reference),
    _residuals,
    _vjp,
    numbers=4,
    configure=lambda lists, numbers: (len(lists[1]) > 0, *numbers),
)
register_derivative("sgd", SGD, lists=2)


def sgd(
    grads: Tensors,
    trace: Tensors,
    count: torch.Tensor,
    *,
    momentum: Scalar,
    dampening: Scalar = 0.0,
    nesterov: bool = False,
    scale: Scalar = 1.0,
) -> tuple[Flat, Flat]:
    """The update of SGD with momentum of a list of tensors, differentiable to any order.

    Args:
        grads: gradients g, any shapes, layouts and mix of dtypes.
        trace: momentum buffers b of the gradients' shapes (float32 for half-precision
            gradients), or an empty list for SGD without momentum.
        count: steps taken by each leaf, this one included; int64 (len(grads),) on the CPU.
        momentum: decay of the trace.
        dampening: what is taken from the gradient from a leaf's second step on.
        nesterov: Nesterov's form.
        scale: factor of the update; a descent step has -lr here.

    Returns:
        The updates u and the new traces (empty without momentum).

    Raises:
        ValueError: if the lists differ in length, or a leaf in shape or dtype.

    Example:
        >>> import torch
        >>> from metaphys import ops
        >>> updates, _ = ops.sgd([torch.ones(2)], [], torch.tensor([1]), momentum=0.0, scale=-0.5)
        >>> updates[0]
        tensor([-0.5000, -0.5000])
    """
    check_lists(grads, count, values={}, state={"trace": trace} if trace else {})
    if not trace and torch.is_grad_enabled() and not isinstance(scale, torch.Tensor):
        # One multiplication a leaf: autograd's own node is cheaper than a Function's.
        return tuple([scale * grad for grad in grads]), ()
    config = (len(trace) > 0, momentum, dampening, nesterov, scale)
    return _halves(SGD(config, (*grads, *trace, count)), len(trace) > 0)


def sgd_(
    params: Tensors,
    grads: Tensors,
    trace: Tensors,
    count: torch.Tensor,
    *,
    momentum: float,
    dampening: float,
    nesterov: bool,
    scale: float,
    weight_decay: float,
    maximize: bool,
) -> None:
    """One SGD step in place, without a graph: writes ``params`` and ``trace``.

    Args:
        params: parameters of the gradients' shapes and dtypes.
        grads: see :func:`sgd`.
        trace: see :func:`sgd`.
        count: see :func:`sgd`.
        momentum: see :func:`sgd`.
        dampening: see :func:`sgd`.
        nesterov: see :func:`sgd`.
        scale: see :func:`sgd`.
        weight_decay: times the parameter is added to the gradient.
        maximize: use -g.

    Raises:
        ValueError: as :func:`sgd`; nothing is written then.

    Example:
        >>> import torch
        >>> from metaphys import ops
        >>> p = [torch.zeros(1)]
        >>> ops.sgd_(p, [torch.ones(1)], [], torch.tensor([1]), momentum=0.0, dampening=0.0,
        ...          nesterov=False, scale=-0.5, weight_decay=0.0, maximize=False)
        >>> p[0]
        tensor([-0.5000])
    """
    state = {"trace": trace} if trace else {}
    check_lists(grads, count, values={"params": params}, state=state)
    config = (momentum, dampening, nesterov, scale, weight_decay, maximize)
    torch.ops.metaphys.sgd_(params, grads, trace, count, *config)
    written(params, trace)
