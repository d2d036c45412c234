"""Gradient clipping by norm, by value, and by the ratio to the parameter; all differentiated."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from metaphys._errors import check, refuse
from metaphys._typing import Hyper, Tensors
from metaphys.ops._math import cast, masked_sqrt, state_dtype
from metaphys.optim import _parts
from metaphys.optim._empty import Stateless
from metaphys.optim.rule import Rule

__all__ = ["adaptive_grad_clip", "clip_grad_norm", "clip_grad_value"]


class _ByNorm(Stateless):
    static = ("norm_type",)

    def check(self, hyper: Mapping[str, Any]) -> None:
        _parts.check_at_least("max_norm", hyper["max_norm"])
        order = hyper["norm_type"]
        number = _parts.is_number(order)
        check(number and order >= 1, "norm_type", expected="a number >= 1", got=repr(order))
        _parts.check_flag("error_if_nonfinite", hyper["error_if_nonfinite"])

    def transform(
        self, grads: Tensors, params: Tensors | None, hyper: Mapping[str, Any]
    ) -> Sequence[torch.Tensor]:
        filled = [grad for grad in grads if grad.numel()]
        if not filled:
            return grads
        norm = total_norm(filled, float(hyper["norm_type"]))
        if hyper["error_if_nonfinite"] and not bool(norm.isfinite()):
            raise RuntimeError(
                f"`grads` must have a finite norm of order {hyper['norm_type']}, but got"
                f" {norm.item()}. Pass error_if_nonfinite=False to scale them all the same."
            )
        # torch.nn.utils has the 1e-6 too; a larger coefficient than 1 is none, with derivative 0.
        coefficient = (cast(hyper["max_norm"], norm.dtype) / (norm + 1e-6)).clamp(max=1.0)
        return [(grad * coefficient.to(grad.device)).to(grad.dtype) for grad in grads]


def total_norm(tensors: Tensors, order: float) -> torch.Tensor:
    """The norm of all entries of all tensors, with derivative 0 where all of them are 0.

    Args:
        tensors: at least one, none of them empty.
        order: ≥ 1, or infinite.
    """
    device = tensors[0].device
    dtype = torch.float64 if any(t.dtype is torch.float64 for t in tensors) else torch.float32
    wide = [tensor.to(state_dtype(tensor.dtype)) for tensor in tensors]
    if math.isinf(order):
        return torch.stack([t.abs().amax().to(device, dtype) for t in wide]).amax()
    total = torch.stack([_powers(t, order).sum().to(device, dtype) for t in wide]).sum()
    if order == 2.0:
        return masked_sqrt(total)
    zero = total == 0
    return torch.where(zero, 0.0, torch.where(zero, 1.0, total) ** (1.0 / order))


def _powers(tensor: torch.Tensor, order: float) -> torch.Tensor:
    if order == 2.0:
        return tensor * tensor
    size = tensor.abs()
    zero = size == 0  # a NaN is not, and stays one
    return torch.where(zero, 0.0, torch.where(zero, 1.0, size) ** order)


def clip_grad_norm(
    max_norm: Hyper, norm_type: float = 2.0, error_if_nonfinite: bool = False
) -> Rule:
    r"""Scale all gradients together so that their norm is at most a bound.

    .. math::
        u = c\,g,\qquad c = \min\left(1, \frac{c_0}{\lVert g \rVert_p + 10^{-6}}\right)

    as ``torch.nn.utils.clip_grad_norm_``. The coefficient c is differentiated: where the norm is
    above the bound, ∂u/∂g has no part along g. Where all gradients are zero the norm's derivative
    is taken as 0, so that ∂u/∂g = c = 1.

    Args:
        max_norm: c₀ ≥ 0: a number, a tensor that may require a gradient, or a schedule.
        norm_type: the order p ≥ 1; ``float("inf")`` for the largest entry.
        error_if_nonfinite: raise where the norm is NaN or infinite. This reads a value, so that a
            GPU is waited for, and ``torch.func.vmap`` refuses it.

    Raises:
        ValueError: if an argument is out of its range.
        RuntimeError: in the update, with ``error_if_nonfinite``.

    Example:
        >>> import torch, metaphys
        >>> rule = metaphys.clip_grad_norm(max_norm=1.0)
        >>> grads = {"a": torch.tensor(3.0), "b": torch.tensor(4.0)}
        >>> rule.update(grads, rule.init(grads))[0]
        {'a': tensor(0.6000), 'b': tensor(0.8000)}
    """
    hyper = {"max_norm": max_norm, "norm_type": norm_type, "error_if_nonfinite": error_if_nonfinite}
    return Rule(_ByNorm(), hyper)


class _ByValue(Stateless):
    def check(self, hyper: Mapping[str, Any]) -> None:
        _parts.check_at_least("clip_value", hyper["clip_value"])

    def transform(
        self, grads: Tensors, params: Tensors | None, hyper: Mapping[str, Any]
    ) -> Sequence[torch.Tensor]:
        bound = hyper["clip_value"]
        if isinstance(bound, (int, float)):
            return [grad.clamp(-bound, bound) for grad in grads]
        bounds = [bound.to(grad.device, grad.dtype) for grad in grads]
        return [torch.clamp(grad, -each, each) for grad, each in zip(grads, bounds)]


def clip_grad_value(clip_value: Hyper) -> Rule:
    r"""Clip every entry: :math:`u = \max(-c, \min(c, g))`, as ``torch.nn.utils.clip_grad_value_``.

    The derivative by an entry outside of the bounds is 0; there the one by the bound is ±1.

    Args:
        clip_value: c ≥ 0: a number, a tensor that may require a gradient, or a schedule.

    Raises:
        ValueError: if it is a number below 0.

    Example:
        >>> import torch, metaphys
        >>> rule = metaphys.clip.clip_grad_value(1.0)
        >>> grads = [torch.tensor([-3.0, 0.5])]
        >>> rule.update(grads, rule.init(grads))[0]
        [tensor([-1.0000,  0.5000])]
    """
    return Rule(_ByValue(), {"clip_value": clip_value})


class _Adaptive(Stateless):
    def check(self, hyper: Mapping[str, Any]) -> None:
        for name, value in hyper.items():
            _parts.check_at_least(name, value)

    def transform(
        self, grads: Tensors, params: Tensors | None, hyper: Mapping[str, Any]
    ) -> Sequence[torch.Tensor]:
        if params is None:
            refuse("params", expected="given for adaptive clipping", got=None)
        return [_clipped(grad, param, **hyper) for grad, param in zip(grads, params)]


def _clipped(grad: torch.Tensor, param: torch.Tensor, clipping: Any, eps: Any) -> torch.Tensor:
    dtype = state_dtype(grad.dtype)
    norm, size = (_unit_norms(each.to(dtype)) for each in (grad, param))
    eps = torch.as_tensor(eps, dtype=dtype, device=grad.device)
    most = cast(clipping, dtype) * torch.where(size > eps, size, eps)
    over = norm > most
    # Divided only where it is used, so that a norm of 0 puts no NaN into a derivative.
    coefficient = torch.where(over, most / torch.where(over, norm, 1.0), 1.0)
    return (grad * coefficient).to(grad.dtype)


def _unit_norms(tensor: torch.Tensor) -> torch.Tensor:
    """The norm of each output unit, with derivative 0 at 0: of the first dimension's slices."""
    dims = tuple(range(1, tensor.ndim)) if tensor.ndim > 1 else tuple(range(tensor.ndim))
    return masked_sqrt((tensor * tensor).sum(dims, keepdim=True)) if dims else tensor.abs()


def adaptive_grad_clip(clipping: Hyper = 0.01, eps: Hyper = 1e-3) -> Rule:
    r"""Adaptive gradient clipping (Brock et al., arXiv 2102.06171, equation 3), unit by unit.

    .. math::
        u_i = \min\left(1, \lambda \frac{\max(\lVert W_i\rVert, \epsilon)}{\lVert g_i\rVert}\right)
        g_i

    A unit is a slice along the first dimension (a row of a linear layer, a filter of a
    convolution); vectors and scalars are one unit. Both norms are differentiated, with derivative 0
    at zero: a unit whose gradient is zero has ∂u/∂g = 1.

    Args:
        clipping: λ ≥ 0: a number, a tensor that may require a gradient, or a schedule.
        eps: ε ≥ 0, the smallest norm of a unit that counts.

    Raises:
        ValueError: if a number is below 0; in the update, without ``params``.

    Example:
        >>> import torch, metaphys
        >>> params, grads = [torch.tensor([[3.0, 4.0]])], [torch.tensor([[0.0, 10.0]])]
        >>> rule = metaphys.clip.adaptive_grad_clip(clipping=0.1)
        >>> rule.update(grads, rule.init(params), params)[0]
        [tensor([[0.0000, 0.5000]])]
    """
    return Rule(_Adaptive(), {"clipping": clipping, "eps": eps})
