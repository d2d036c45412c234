"""The inner loop as a pure function of flat tuples: what every adjoint differentiates."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from metaphys._errors import check
from metaphys.meta._flat_rule import FlatRule
from metaphys.meta._gradient import gradient_of
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
        gradient = gradient_of(self.loss, (*carry, *consts, *batch))
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


def stacked(each: Sequence[Flat]) -> Flat:
    """What every step put out, along a new leading dimension."""
    return tuple(torch.stack(values) for values in zip(*each))


def _shown(loss: Any) -> str:
    if isinstance(loss, Tensor):
        return f"one of shape {tuple(loss.shape)} and {loss.dtype}"
    return f"a {type(loss).__name__}"
