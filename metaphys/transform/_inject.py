"""Hyper-parameters in the state of a rule."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, ParamSpec, overload

import torch

from metaphys._typing import Tensors
from metaphys.optim import _parts
from metaphys.optim._composite import Composite, compose
from metaphys.optim.rule import GradientTransformation, Rule, bound

P = ParamSpec("P")


class InjectState(NamedTuple):
    """Steps taken by each leaf, the hyper-parameters by name, and the rule's own state.

    Attributes:
        count: int64 (n,).
        hyper: 0-d tensors, or tuples of them for ``betas``; to be replaced at will.
        inner: the rule's own state.
    """

    count: torch.Tensor  # pyright: ignore[reportIncompatibleMethodOverride]
    hyper: dict[str, Any]
    inner: Any


class _Inject(Composite):
    whole = True

    def init(self, params: Tensors, hyper: Mapping[str, Any]) -> InjectState:
        # Schedules count the rule's own steps, so the values come after a state.
        own, inner = self.of_part(hyper, 0), self.init_part(0, params, hyper)
        first = self.parts[0].resolve(own, inner, params)
        kept = {
            name: _held(first[inside])
            for inside, name in self.names[0]
            if name not in self.static and _is_number(first[inside])
        }
        inner = self.init_part(0, params, {**hyper, **kept})
        return InjectState(_parts.no_steps(params), kept, inner)

    def resolve(self, hyper: Mapping[str, Any], state: InjectState, params: Any) -> dict[str, Any]:
        """What the state holds, but for schedules: these give it."""
        resolved = super().resolve(hyper, state, params)
        held = {name: kept for name, kept in state.hyper.items() if not _is_scheduled(hyper[name])}
        return {**resolved, **held}

    def holding(self, state: InjectState, hyper: Mapping[str, Any]) -> InjectState:
        """What ``hyper`` has in place of what the state holds; schedules' values stay."""
        kept = {}
        for name, value in state.hyper.items():
            if _is_scheduled(hyper[name]):
                kept[name] = value
            elif _is_number(hyper[name]):  # else it has become one value for each leaf
                kept[name] = _held(hyper[name])
        return super().holding(state, hyper)._replace(hyper=kept)

    def update(
        self, grads: Tensors, state: InjectState, params: Tensors | None, hyper: Mapping[str, Any]
    ) -> tuple[Sequence[torch.Tensor], InjectState]:
        kept = {name: _held(hyper[name]) for name in state.hyper}
        own = self.of_part({**hyper, **kept}, 0)
        updates, inner = self.parts[0].update(grads, state.inner, params, own)
        return updates, InjectState(state.count + 1, kept, inner)


def _is_number(value: Any) -> bool:
    if isinstance(value, (tuple, list)) and not hasattr(value, "_fields"):
        return len(value) > 0 and all(_is_number(each) for each in value)
    return isinstance(value, (int, float, torch.Tensor)) and not isinstance(value, bool)


def _held(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return tuple(_held(each) for each in value)
    if isinstance(value, torch.Tensor):
        return value
    # On the CPU, whatever the default device: a 0-d tensor there meets those of any other.
    return torch.tensor(value, dtype=torch.float64, device="cpu")


def _is_scheduled(value: Any) -> bool:
    return any(callable(each) for each in (value if isinstance(value, (tuple, list)) else [value]))


@overload
def inject_hyperparams(rule: GradientTransformation) -> Rule: ...
@overload
def inject_hyperparams(rule: Callable[P, Rule]) -> Callable[P, Rule]: ...
def inject_hyperparams(rule: Any) -> Any:
    """Keep the hyper-parameters in the state, where they can be read, changed and learned.

    ``state.hyper`` holds every number, tensor and schedule's value of the rule as a tensor. What is
    put there is used from the next step on, and a meta-gradient flows to it; a schedule gives its
    value anew at every step. Flags, masks, values for each parameter and numbers that choose what
    is computed stay in the rule. A momentum or weight decay of 0 counts as one that may change:
    its buffers are kept, and ``params`` are needed.

    Where a rule's hyper-parameters are only to be tensors or schedules there is no need of this:
    they may be both without. In :class:`metaphys.Optimizer` the parameter groups hold the
    hyper-parameters anyway: what is in them at a step is put in the state.

    Args:
        rule: a rule, or a function that makes one, as optax has it.

    Returns:
        A rule, or a function that makes one.

    Raises:
        TypeError: if ``rule`` is neither.

    Example:
        >>> import torch, metaphys
        >>> rule = metaphys.transform.inject_hyperparams(metaphys.sgd)(lr=0.5)
        >>> state = rule.init([torch.zeros(1)])
        >>> state = state._replace(hyper={**state.hyper, "lr": torch.tensor(2.0)})
        >>> rule.update([torch.ones(1)], state, [torch.zeros(1)])[0]
        [tensor([-2.])]
    """
    if isinstance(rule, GradientTransformation) or not callable(rule):
        return Rule(*compose(_Inject, {"inner": bound(rule, "rule")}))  # type: ignore[arg-type]

    @functools.wraps(rule)
    def made(*given: Any, **named: Any) -> Rule:
        return inject_hyperparams(rule(*given, **named))  # type: ignore[arg-type]

    return made
