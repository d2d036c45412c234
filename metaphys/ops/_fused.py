"""One differentiable call for every kernel: which form runs where, and how it is differentiated.

A kernel is three things: a registered operator that computes (``run``), a Python statement of the
same mathematics (``reference``) and, optionally, another kernel that is its vector-Jacobian
product. What runs is decided in one place, :func:`wants_reference`:

- the operator alone where no derivative is wanted;
- the operator in an ``autograd.Function`` in eager code, under ``torch.func`` and under ``vmap``.
  Its backward is the vjp kernel, itself such a Function, whose own derivative is plain autograd
  through the reference, so that every order is right;
- the reference under ``torch.compile`` (Inductor fuses it; the operator would be opaque there), in
  forward mode (the jvp of a jvp through a Function is silently wrong in torch), on devices that
  have no kernel, where a hyper-parameter is a tensor, and in the batched backward of
  ``autograd.grad(is_grads_batched=True)``, whose own kind of vmap knows no rule of a Function.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import torch
from torch._C._functorch import unwrap_if_dead
from torch.autograd import forward_ad

from metaphys.ops._library import LIBRARY

Config = tuple[Any, ...]
Flat = tuple[torch.Tensor, ...]

# A `map` of a C function: with 200 small parameters a loop in Python takes as long as the kernel.
_IS_CPU = attrgetter("is_cpu")
_VMAP = torch._C._dispatch_key_parse("VmapMode")


@dataclass(frozen=True, eq=False)
class Kernel:
    """A multi-tensor operator and what is known about it.

    The last of its tensors is what depends on a leaf's steps alone (the steps themselves, or
    numbers made of them): it has no derivative, and no batch dimension in the kernel.

    Attributes:
        run: ``run(config, tensors) -> tensors``: calls the registered operator.
        reference: the same in differentiable Python.
        residuals: ``residuals(config, inputs, outputs)``: the tensors that the vjp needs.
        vjp: ``vjp(config, residuals, cotangents)``: cotangents of all inputs, ``None`` where an
            input has none. Without it the derivative is that of the reference.
        numbers: how many numbers the operator takes after its tensors.
        configure: the config that belongs to the operator's lists and numbers.
    """

    run: Callable[[Config, Flat], Flat]
    reference: Callable[[Config, Flat], Flat]
    residuals: Callable[[Config, Flat, Flat], Flat] = lambda config, inputs, outputs: inputs
    vjp: Callable[[Config, Flat, Flat], Sequence[torch.Tensor | None]] | None = None
    numbers: int = 0
    configure: Callable[[Sequence[Any], Config], Config] = lambda lists, numbers: numbers

    def __call__(self, config: Config, tensors: Flat) -> Flat:
        if wants_reference(config, tensors):
            return self.reference(config, tensors)
        if torch._C._are_functorch_transforms_active():
            return _Apply.apply(self, config, *tensors)
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
            # Function.apply inspects the signature at every call, which takes longer than a small
            # kernel; outside torch.func this is what it does next.
            eager = super(torch.autograd.Function, _Apply).apply  # type: ignore[misc]
            return eager(self, config, *map(unwrap_if_dead, tensors))
        return self.run(config, tensors)


def wants_reference(config: Config, tensors: Sequence[torch.Tensor]) -> bool:
    """Whether the Python statement of a kernel has to be used: see the head of this file."""
    return (
        torch.compiler.is_compiling()
        or forward_mode_is_on()
        or legacy_vmap_is_on()
        or any(isinstance(value, torch.Tensor) for value in config)
        or not all(map(_IS_CPU, tensors))
    )


def legacy_vmap_is_on() -> bool:
    """Whether this is the backward pass of ``autograd.grad(is_grads_batched=True)``."""
    return torch._C._dispatch_tls_is_dispatch_key_included(_VMAP)


def forward_mode_is_on() -> bool:
    """Whether a dual level is open, by ``torch.func.jvp`` or ``forward_ad.dual_level``."""
    return getattr(forward_ad, "_current_level", -1) >= 0


class _Apply(torch.autograd.Function):
    """The autograd and vmap rules of every kernel. Forward mode never gets here."""

    @staticmethod
    def forward(kernel: Kernel, config: Config, *tensors: torch.Tensor) -> Flat:
        # Below autograd: straight to the operator, past the formula it has for direct callers.
        with torch._C._AutoDispatchBelowAutograd():
            return kernel.run(config, tensors)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Flat) -> None:
        kernel, config = inputs[:2]
        ctx.kernel, ctx.config = kernel, config
        ctx.save_for_backward(*kernel.residuals(config, inputs[2:], output))

    @staticmethod
    def backward(ctx: Any, *cotangents: torch.Tensor) -> tuple[Any, ...]:
        kernel, saved = ctx.kernel, ctx.saved_tensors
        if kernel.vjp is not None:
            return None, None, *kernel.vjp(ctx.config, saved, cotangents)
        return None, None, *reference_vjp(kernel.reference, ctx.config, saved, cotangents)

    @staticmethod
    def vmap(  # type: ignore[override]
        info: Any, in_dims: tuple[Any, ...], kernel: Kernel, config: Config, *tensors: Any
    ) -> tuple[Flat, tuple[int, ...]]:
        # Element by element, so a batch is only more elements: a leading dimension on every
        # tensor but the last. A batch of those is left to the reference.
        dims = in_dims[2:]
        *values, constants = tensors
        if dims[-1] is not None:
            outputs = torch.vmap(
                lambda *each: kernel.reference(config, each),  # type: ignore[arg-type]
                in_dims=dims,
            )(*tensors)
        else:
            batched = [_leading(t, dim, info.batch_size) for t, dim in zip(values, dims)]
            outputs = kernel(config, (*batched, constants))
        return outputs, (0,) * len(outputs)


def _leading(tensor: torch.Tensor, dim: int | None, size: int) -> torch.Tensor:
    if dim is None:
        return tensor.expand(size, *tensor.shape)
    return tensor.movedim(dim, 0)


def reference_vjp(
    reference: Callable[[Config, Flat], Flat], config: Config, inputs: Flat, cotangents: Flat
) -> list[torch.Tensor | None]:
    """The vector-Jacobian product of ``reference`` by autograd, differentiable again."""
    *values, constants = inputs

    def of_values(*given: torch.Tensor) -> Flat:
        return reference(config, (*given, constants))

    pullback = torch.func.vjp(of_values, *values)[1]
    return [*pullback(tuple(cotangents)), None]


def fresh(reference: Callable[..., Any]) -> Callable[..., Any]:
    """A reference as the Python implementation of an operator, which never builds a graph."""

    def implementation(*arguments: Any) -> Any:
        with torch.no_grad():
            return reference(*arguments)

    return implementation


def written(*lists: Sequence[torch.Tensor]) -> None:
    """Tell autograd that a mutating kernel wrote these tensors.

    A backward pass that still needs an old value then raises, instead of using the new one.
    """
    tensors = [tensor for each in lists for tensor in each if not tensor.is_inference()]
    torch.autograd.graph.increment_version(tensors)


def register_derivative(name: str, kernel: Kernel, *, lists: int) -> None:
    """Give ``torch.ops.metaphys.<name>`` itself a derivative and a fake implementation.

    For those who call the operator directly, and for ``torch.library.opcheck``; metaphys itself
    calls the :class:`Kernel`, because an operator with only a registered backward raises under
    ``torch.func`` and loses tangents silently in forward mode.

    Args:
        name: the operator's name; it takes ``lists`` tensor lists, the step counts and numbers.
        kernel: what it is.
        lists: how many lists of tensors come first.
    """

    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.shape = [len(each) for each in inputs[:lists]]
        ctx.config = kernel.configure(inputs[:lists], inputs[lists + 1 :])
        given = (*(t for each in inputs[:lists] for t in each), inputs[lists])
        made = tuple(t for each in output for t in each)
        ctx.save_for_backward(*kernel.residuals(ctx.config, given, made))

    def backward(ctx: Any, *cotangents: Sequence[torch.Tensor]) -> tuple[Any, ...]:
        assert kernel.vjp is not None
        flat = tuple(t for each in cotangents for t in each)
        found = kernel.vjp(ctx.config, ctx.saved_tensors, flat)
        grads, start = [], 0
        for length in ctx.shape:
            grads.append(list(found[start : start + length]))
            start += length
        return (*grads, None, *([None] * kernel.numbers))

    torch.library.register_autograd(
        f"metaphys::{name}", backward, setup_context=setup_context, lib=LIBRARY
    )
