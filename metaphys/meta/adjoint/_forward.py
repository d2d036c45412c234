"""Forward mode: the derivatives by a few scalars travel along with the unroll.

Williams & Zipser, "A learning algorithm for continually running fully recurrent neural networks",
Neural Computation 1, 270 (1989); for hyper-parameters Franceschi et al., arXiv 1703.01785.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from metaphys._errors import check
from metaphys._replay import Recording
from metaphys.meta._loop import Flat, Inputs, Loop, Outputs
from metaphys.meta.adjoint._base import Adjoint
from metaphys.meta.adjoint._closure import is_tracked, refuse_closure
from metaphys.meta.adjoint._segments import floats
from metaphys.ops._fused import forward_mode_is_on


@final
@dataclass(frozen=True)
class Forward(Adjoint):
    """One tangent for each scalar among the meta-parameters and tensor hyper-parameters.

    Exact, with memory that does not grow with the steps; time grows with the number of scalars.
    For a handful of them: a learned step size, its decay. The start, the state and the data are
    constants, and one that requires a gradient is refused. First derivatives only: asking for
    second ones raises. In forward mode it is :class:`Full`.

    Raises:
        ValueError: in the unroll, if ``params``, ``state`` or ``batches`` require a gradient, or
            the loss closes over a tensor that does.
        RuntimeError: when a second derivative is asked for.

    Example:
        >>> import torch, metaphys
        >>> rate = torch.tensor(0.1, requires_grad=True)
        >>> end = metaphys.unroll(lambda p, _: p**2, metaphys.sgd(lr=rate), torch.tensor(1.0),
        ...                       steps=2, adjoint=metaphys.adjoint.Forward())
        >>> torch.autograd.grad(end.params, rate)
        (tensor(-3.2000),)
    """

    def run(self, loop: Loop, inputs: Inputs) -> Outputs:
        if forward_mode_is_on() or not torch.is_grad_enabled() or torch.compiler.is_compiling():
            return loop.run(inputs)
        for argument, tensors in (("params", inputs.carry), ("batches", inputs.batches)):
            check(
                not any(is_tracked(tensor) for tensor in tensors),
                argument,
                expected="constant under adjoint=Forward(), and `state` too",
                got="a tensor that requires a gradient",
                remedy="Detach it, or use metaphys.adjoint.Checkpoint().",
            )
        chosen = [index for index, const in enumerate(inputs.consts) if is_tracked(const)]
        values, slopes = _pushed(loop, inputs, chosen)
        if any(is_tracked(value) for value in values):
            refuse_closure("requires a gradient", "Forward()")
        # To first order, the outputs are these functions of the constants.
        moved = [_Once.apply(inputs.consts[index]) for index in chosen]
        moved = [each - each.detach() for each in moved]
        outputs = list(values)
        for place, slope in slopes.items():
            for each, by_each in zip(moved, slope):
                product = by_each * each.to(by_each.dtype)
                outputs[place] = outputs[place] + product.reshape((*outputs[place].shape, -1)).sum(
                    -1
                )
        return Outputs(tuple(outputs[: len(inputs.carry)]), tuple(outputs[len(inputs.carry) :]))


def _pushed(loop: Loop, inputs: Inputs, chosen: list[int]) -> tuple[Flat, dict[int, list[Tensor]]]:
    """The outputs, and their derivatives by the chosen constants: (*output, *constant) each."""
    carry, consts, batches = (tuple(t.detach() for t in part) for part in inputs)
    given = tuple(consts[index] for index in chosen)

    def function(*values: Tensor) -> tuple[Flat, Flat]:
        own = list(consts)
        for index, value in zip(chosen, values):
            own[index] = value
        after, each = loop.run(Inputs(carry, tuple(own), batches))
        outputs = (*after, *each)
        return tuple(outputs[place] for place in floats(outputs)), outputs

    if not chosen:
        return function()[1], {}
    recording, columns, outputs = Recording(), [], ()
    for tangents in zip(*_basis(given)):
        # Not under vmap: a device would be measured once for each tangent.
        with recording.replay() if columns else recording.record():
            pushed: Any = torch.func.jvp(function, given, tangents, has_aux=True)
        columns.append(pushed[1])
        outputs = pushed[2]
    by_const = {}
    for place, slopes in zip(floats(outputs), zip(*columns)):
        parts = torch.stack(slopes, -1).split([each.numel() for each in given], -1)
        shape = outputs[place].shape
        by_const[place] = [p.reshape((*shape, *t.shape)) for p, t in zip(parts, given)]
    return outputs, by_const


def _basis(tensors: Flat) -> list[Tensor]:
    """The unit vectors of all entries of all tensors: (n, *shape) each."""
    sizes = [tensor.numel() for tensor in tensors]
    rows = torch.eye(sum(sizes), device=tensors[0].device).split(sizes, -1)
    return [r.reshape((-1, *t.shape)).to(t) for r, t in zip(rows, tensors)]


class _Once(torch.autograd.Function):
    """The identity, whose derivative has no derivative by the same tensor: it raises."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> Tensor:  # type: ignore[override]
        return _Barrier.apply(cotangent, *ctx.saved_tensors)  # type: ignore[return-value]


class _Barrier(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(cotangent: Tensor, x: Tensor) -> Tensor:
        return cotangent.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> Any:  # type: ignore[override]
        if ctx.needs_input_grad[1]:
            message = "metaphys.adjoint.Forward() has first derivatives only; use Checkpoint()."
            raise RuntimeError(message)
        return cotangent, None
