"""Lookahead: Zhang, Lucas, Hinton & Ba, arXiv 1907.08610, Algorithm 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

from metaphys._errors import refuse
from metaphys._typing import Hyper, Tensors
from metaphys.ops._math import cast, state_dtype
from metaphys.optim import _parts
from metaphys.optim._composite import Composite, compose
from metaphys.optim._state import where
from metaphys.optim.rule import GradientTransformation, Rule, bound


class LookaheadState(NamedTuple):
    """Steps taken by each leaf, the slow weights, and the rule's own state."""

    count: torch.Tensor  # pyright: ignore[reportIncompatibleMethodOverride]
    slow: tuple[torch.Tensor, ...]
    inner: Any


class _Lookahead(Composite):
    static = ("sync_period",)

    def check(self, hyper: Mapping[str, Any]) -> None:
        super().check(hyper)
        _parts.check_count("sync_period", hyper["sync_period"], 1)
        _parts.check_fraction("slow_step_size", hyper["slow_step_size"])

    def init(self, params: Tensors, hyper: Mapping[str, Any]) -> LookaheadState:
        # Copies, with their graph: the stateful form writes the parameters in place.
        slow = tuple(p.to(state_dtype(p.dtype), copy=True) for p in params)
        return LookaheadState(_parts.no_steps(params), slow, self.init_part(0, params, hyper))

    def update(
        self,
        grads: Tensors,
        state: LookaheadState,
        params: Tensors | None,
        hyper: Mapping[str, Any],
    ) -> tuple[Sequence[torch.Tensor], LookaheadState]:
        if params is None:
            refuse("params", expected="given for lookahead", got=None)
        updates, inner = self.parts[0].update(grads, state.inner, params, self.of_part(hyper, 0))
        count = state.count + 1
        due = (count % hyper["sync_period"] == 0).unbind(0)
        result, slow = [], []
        for flag, update, param, kept in zip(due, updates, params, state.slow):
            fast, rate = (param + update).to(kept.dtype), cast(hyper["slow_step_size"], kept.dtype)
            moved = kept + rate * (fast - kept)
            slow.append(where(flag, moved, kept))
            result.append(where(flag, (moved - param).to(update.dtype), update))
        return result, LookaheadState(count, tuple(slow), inner)


def lookahead(
    rule: GradientTransformation, sync_period: int = 5, slow_step_size: Hyper = 0.5
) -> Rule:
    r"""Lookahead (Zhang et al., arXiv 1907.08610, Algorithm 1): k steps forward, one step back.

    The rule moves the parameters p; after every k-th step

    .. math::
        \phi' = \phi + \alpha (p - \phi),\qquad p' = \phi'

    with slow weights φ that begin at the parameters. The rule's own state goes on.

    Args:
        rule: the rule of the fast weights.
        sync_period: k ≥ 1.
        slow_step_size: α in [0, 1]: a number, a tensor that may require a gradient, or a schedule.

    Raises:
        TypeError: if ``rule`` is no rule.
        ValueError: if a number is out of its range; in the update, without ``params``.

    Example:
        >>> import torch, metaphys
        >>> rule = metaphys.transform.lookahead(metaphys.sgd(lr=1.0), sync_period=2)
        >>> params, steps = torch.tensor(0.0), []
        >>> state = rule.init(params)
        >>> for _ in range(2):
        ...     updates, state = rule.update(torch.tensor(-1.0), state, params)
        ...     params = metaphys.apply_updates(params, updates, inplace=False)
        >>> params  # 2 steps of 1 forward, half the way back
        tensor(1.)
    """
    part = {"inner": bound(rule, "rule")}
    own = {"sync_period": sync_period, "slow_step_size": slow_step_size}
    return Rule(*compose(_Lookahead, part, **own))
