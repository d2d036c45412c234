"""Micro-batches: one step of a rule for the mean of several gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

from metaphys._typing import Tensors
from metaphys.ops._math import state_dtype
from metaphys.optim import _parts
from metaphys.optim._composite import Composite, compose
from metaphys.optim._state import choose_state, where
from metaphys.optim.rule import GradientTransformation, Rule, bound


class AccumulateState(NamedTuple):
    """Gradients that each leaf got, their sum since its last step, and the rule's own state."""

    count: torch.Tensor  # pyright: ignore[reportIncompatibleMethodOverride]
    total: tuple[torch.Tensor, ...]
    inner: Any


class _Accumulate(Composite):
    static = ("every", "mean")

    def check(self, hyper: Mapping[str, Any]) -> None:
        super().check(hyper)
        _parts.check_count("every", hyper["every"], 1)
        _parts.check_flag("mean", hyper["mean"])

    def init(self, params: Tensors, hyper: Mapping[str, Any]) -> AccumulateState:
        inner = self.init_part(0, params, hyper)
        return AccumulateState(_parts.no_steps(params), _parts.zeros(params), inner)

    def update(
        self,
        grads: Tensors,
        state: AccumulateState,
        params: Tensors | None,
        hyper: Mapping[str, Any],
    ) -> tuple[Sequence[torch.Tensor], AccumulateState]:
        count, share = state.count + 1, 1.0 / hyper["every"] if hyper["mean"] else 1.0
        total = [
            kept + share * grad.to(state_dtype(grad.dtype))
            for kept, grad in zip(state.total, grads)
        ]
        whole = [kept.to(grad.dtype) for kept, grad in zip(total, grads)]
        updates, new = self.parts[0].update(whole, state.inner, params, self.of_part(hyper, 0))
        # By where, not by if: the counts may be mapped, or part of a compiled graph.
        due = count % hyper["every"] == 0
        flags = due.unbind(0)
        updates = [where(flag, u, torch.zeros_like(u)) for flag, u in zip(flags, updates)]
        total = tuple(where(flag, torch.zeros_like(t), t) for flag, t in zip(flags, total))
        return updates, AccumulateState(count, total, choose_state(due, new, state.inner))


def accumulate(rule: GradientTransformation, every: int, *, mean: bool = True) -> Rule:
    r"""One step of a rule for every k gradients: micro-batches instead of a batch.

    .. math::
        \bar g = \frac1k \sum_{i=1}^k g_i

    enters the rule at every k-th call; the updates are 0 at the others. Schedules of the rule count
    its own steps. A parameter without a gradient in a call is not counted there: its step comes
    after k gradients of its own.

    Args:
        rule: the rule.
        every: k ≥ 1.
        mean: the mean; else the sum, for losses that are divided by k already.

    Raises:
        TypeError: if ``rule`` is no rule.
        ValueError: if k is no integer ≥ 1.

    Example:
        >>> import torch, metaphys
        >>> rule = metaphys.transform.accumulate(metaphys.sgd(lr=1.0), every=2)
        >>> state = rule.init([torch.zeros(1)])
        >>> first, state = rule.update([torch.tensor([1.0])], state)
        >>> second, state = rule.update([torch.tensor([3.0])], state)
        >>> first[0], second[0]
        (tensor([0.]), tensor([-2.]))
    """
    part = {"inner": bound(rule, "rule")}
    return Rule(*compose(_Accumulate, part, every=every, mean=mean))
