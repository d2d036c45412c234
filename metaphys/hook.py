"""Hooks on gradients: what is done to the derivative *by* a gradient, when the step is passed back.

The step itself is not changed by a hook, only the meta-gradient that flows through it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from metaphys._errors import check
from metaphys._typing import Tensors
from metaphys.ops._fused import forward_mode_is_on
from metaphys.optim import _parts
from metaphys.optim._empty import Stateless
from metaphys.optim.rule import Rule

Hook = Callable[[torch.Tensor], "torch.Tensor | None"]

__all__ = ["nan_to_num_hook", "register_hook", "zero_nan_hook"]


def zero_nan_hook(g: torch.Tensor) -> torch.Tensor:
    """``g`` with 0 in place of every NaN.

    Example:
        >>> import torch, metaphys
        >>> metaphys.hook.zero_nan_hook(torch.tensor([float("nan"), 1.0]))
        tensor([0., 1.])
    """
    return torch.where(torch.isnan(g), torch.zeros_like(g), g)


def nan_to_num_hook(
    nan: float = 0.0, posinf: float | None = None, neginf: float | None = None
) -> Callable[[torch.Tensor], torch.Tensor]:
    """A hook that replaces NaN and infinities, as ``torch.nan_to_num``.

    Args:
        nan: in place of NaN.
        posinf: in place of ∞; the largest finite number of the dtype by default.
        neginf: in place of -∞; the smallest by default.

    Raises:
        TypeError: if one of them is no number.

    Example:
        >>> import torch, metaphys
        >>> metaphys.hook.nan_to_num_hook(posinf=9.0)(torch.tensor([float("inf"), 1.0]))
        tensor([9., 1.])
    """
    for name, value in (("nan", nan), ("posinf", posinf), ("neginf", neginf)):
        _parts.check_replacement(name, value)

    def hook(g: torch.Tensor) -> torch.Tensor:
        return torch.nan_to_num(g, nan, posinf, neginf)

    return hook


class _Hooked(torch.autograd.Function):
    """The identity, with a hook on its cotangent; unlike a tensor's hook it knows torch.func."""

    generate_vmap_rule = True

    @staticmethod
    def forward(hook: Hook, grad: torch.Tensor) -> torch.Tensor:
        return grad.view_as(grad)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        ctx.hook = inputs[0]

    @staticmethod
    def backward(ctx: Any, cotangent: torch.Tensor) -> Any:  # type: ignore[override]
        changed = ctx.hook(cotangent)
        return None, cotangent if changed is None else changed


class _WithHook(Stateless):
    def __init__(self, hook: Hook) -> None:
        self.hook = hook

    def transform(
        self, grads: Tensors, params: Tensors | None, hyper: Mapping[str, Any]
    ) -> Sequence[torch.Tensor]:
        if forward_mode_is_on():  # tangents have no hooks
            return grads
        hooked: Any = _Hooked.apply
        return [hooked(self.hook, grad) for grad in grads]


def register_hook(hook: Hook) -> Rule:
    """A transform that leaves gradients as they are, with a hook on each: see the module.

    The tensors of the caller are not touched. In forward mode there are no cotangents, so that the
    hook is not called.

    Args:
        hook: of a cotangent, gives another one or ``None``, as in ``torch.Tensor.register_hook``.

    Raises:
        TypeError: if it is no function.

    Example:
        >>> import torch, metaphys
        >>> rule = metaphys.chain(metaphys.register_hook(lambda g: 0 * g), metaphys.sgd(lr=1.0))
        >>> grad = torch.tensor([2.0], requires_grad=True)
        >>> updates, _ = rule.update([grad], rule.init([grad]))
        >>> updates[0].data, torch.autograd.grad(updates[0], grad)[0]
        (tensor([-2.]), tensor([-0.]))
    """
    got = type(hook).__name__
    check(callable(hook), "hook", expected="a function", got=got, error=TypeError)
    return Rule(_WithHook(hook), {})
