"""The inner loop as a pure function of flat tuples: what every adjoint differentiates."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor

from metaphys._errors import check
from metaphys.meta._flat_rule import FlatRule
from metaphys.meta._layout import Layout
from metaphys.optim.rule import add_updates

Flat = tuple[Tensor, ...]

COMPLETED, NONFINITE, STOPPED = 0, 1, 2


class Inputs(NamedTuple):
    """Everything that an unroll is a function of.

    Attributes:
        carry: parameters, state of the rule, buffers, code of the status: what a step changes.
        consts: meta-parameters and the rule's tensor hyper-parameters.
        batches: data with a leading dimension of steps.
    """

    carry: Flat
    consts: Flat
    batches: Flat


class Outputs(NamedTuple):
    """What an unroll gives.

    Attributes:
        carry: as in :class:`Inputs`, after the last step.
        each: what every step put out, with a leading dimension of steps: the loss, and the
            parameters after the step if a trajectory is wanted.
    """

    carry: Flat
    each: Flat


@dataclass(frozen=True, eq=False)
class Loop:
    """A loss, a rule and the layouts of what they take; all mathematics, no tensors of its own.

    With ``buffers`` the loss takes their tensors as its last argument, and gives ``(loss, new)``.
    """

    loss_fn: Callable[..., Any]
    rule: FlatRule
    steps: int
    params: Layout
    state: Layout
    buffers: Layout
    meta: Layout
    hyper: Layout
    batch: Layout | None
    stop_below: float | None
    trajectory: bool

    def run(self, inputs: Inputs) -> Outputs:
        """As many steps as ``inputs.batches`` and ``steps`` say, one after the other."""
        carry, consts, _ = inputs
        each = []
        for batch in self.by_step(inputs.batches):
            carry, outputs = self.step(carry, consts, batch)
            each.append(outputs)
        return Outputs(carry, stacked(each))

    def by_step(self, batches: Flat) -> list[Flat]:
        """The batch of every step."""
        # unbind, not indices: its derivative is one stack instead of a zero tensor for each step.
        return list(zip(*(each.unbind(0) for each in batches))) or [()] * self.steps

    def part(self, steps: int) -> Loop:
        """The same loop for another number of steps."""
        return dataclasses.replace(self, steps=steps)

    def step(self, carry: Flat, consts: Flat, batch: Flat) -> tuple[Flat, Flat]:
        """One step: the next carry, and what the step puts out."""
        meta, hyper = self.split_consts(consts)
        gradient = grad_and_value(self.loss, lean=is_plain((*carry, *consts, *batch)))
        params, _, buffers, _ = self.split_carry(carry)
        grads, loss, buffers = gradient(params, meta, batch, buffers)
        return self.advance(carry, grads, loss, buffers, hyper)

    def loss(self, params: Flat, meta: Flat, batch: Flat, buffers: Flat) -> tuple[Tensor, Flat]:
        """The inner loss at flat arguments, and what the buffers become."""
        arguments = [self.params.tree(params), self.meta.tree(meta)]
        if self.batch is not None:
            arguments.append(self.batch.tree(batch))
        if len(self.buffers):
            loss, buffers = self.loss_fn(*arguments, buffers)
        else:
            loss = self.loss_fn(*arguments)
        check(
            isinstance(loss, Tensor) and loss.ndim == 0 and loss.is_floating_point(),
            "loss_fn",
            expected="a function that gives a real scalar tensor",
            got=_shown(loss),
            remedy="Reduce it, for example with .mean().",
        )
        return loss, buffers

    def advance(
        self, carry: Flat, grads: Flat, loss: Tensor, buffers: Flat, hyper: Flat
    ) -> tuple[Flat, Flat]:
        """The rest of a step, once the gradient is known."""
        params, state, _, code = self.split_carry(carry)
        rule = dataclasses.replace(self.rule, hyper=self.hyper.tree(hyper))
        updates, after = rule.update(grads, self.state.tree(state), params)
        self.state.check_constant(after, "state")
        moved = add_updates(params, updates)
        new: tuple[Any, ...] = (*moved, *self.state.tensors(after), *buffers)
        known = loss.detach()
        code = torch.where((code == COMPLETED) & ~known.isfinite(), NONFINITE, code)
        if self.stop_below is not None:
            code = torch.where((code == COMPLETED) & (known <= self.stop_below), STOPPED, code)
            halted = code == STOPPED
            new = tuple(torch.where(halted, a, b) for a, b in zip(carry, new))
        outputs = (loss, *new[: len(params)]) if self.trajectory else (loss,)
        return (*new, code), outputs

    def split_carry(self, carry: Flat) -> tuple[Flat, Flat, Flat, Tensor]:
        """Parameters, state, buffers (constants of the derivative), code."""
        n, last = len(self.params), len(carry) - 1 - len(self.buffers)
        buffers = tuple(buffer.detach() for buffer in carry[last:-1])
        return carry[:n], carry[n:last], buffers, carry[-1]

    def split_consts(self, consts: Flat) -> tuple[Flat, Flat]:
        """Meta-parameters, tensor hyper-parameters."""
        n = len(self.meta)
        return consts[:n], consts[n:]


def is_plain(tensors: Sequence[Tensor]) -> bool:
    """Whether nobody differentiates here: no gradients enabled, nothing of torch.func around."""
    return not (
        torch.is_grad_enabled()
        or torch.compiler.is_compiling()
        or torch._C._are_functorch_transforms_active()
        or any(is_functorch_wrapped_tensor(tensor) for tensor in tensors)
    )


def grad_and_value(
    function: Callable[..., tuple[Tensor, Flat]], *, lean: bool, every: bool = False
) -> Callable[..., Any]:
    """The gradient of ``function`` by its first argument, or by ``every`` one, and its results.

    ``torch.func.grad`` always builds the graph of the backward pass; ``lean`` builds none. That is
    for where :func:`is_plain` holds: elsewhere the pullback would outlive its level.
    """

    def both(*given: Any) -> tuple[Any, Tensor, Flat]:
        if not lean:
            argnums = tuple(range(len(given))) if every else 0
            gradient = torch.func.grad_and_value(function, argnums=argnums, has_aux=True)
            grads, (value, rest) = gradient(*given)
            return grads, value, rest
        first = given if every else given[:1]
        value, pullback, rest = torch.func.vjp(  # pyright: ignore[reportAssignmentType]
            lambda *x: function(*x, *given[len(x) :]), *first, has_aux=True
        )
        grads = pullback(torch.ones_like(value), retain_graph=False, create_graph=False)
        return (grads if every else grads[0]), value, rest

    return both


def stacked(each: Sequence[Flat]) -> Flat:
    """What every step put out, along a new leading dimension."""
    return tuple(torch.stack(values) for values in zip(*each))


def _shown(loss: Any) -> str:
    if isinstance(loss, Tensor):
        return f"one of shape {tuple(loss.shape)} and {loss.dtype}"
    return f"a {type(loss).__name__}"
