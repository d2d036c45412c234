"""A rule that leaves out the steps whose gradients are not finite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

from metaphys._typing import Tensors
from metaphys.optim import _parts
from metaphys.optim._composite import Composite, compose
from metaphys.optim._state import choose_state, map_state, moved
from metaphys.optim.rule import GradientTransformation, Rule, bound


class FiniteState(NamedTuple):
    """Calls, steps left out in a row and in all (int64 (n,) each), and the rule's own state."""

    count: torch.Tensor  # pyright: ignore[reportIncompatibleMethodOverride]
    failures: torch.Tensor
    total: torch.Tensor
    inner: Any


class _IfFinite(Composite):
    static = ("max_consecutive_errors",)

    def check(self, hyper: Mapping[str, Any]) -> None:
        super().check(hyper)
        if (most := hyper["max_consecutive_errors"]) is not None:
            _parts.check_count("max_consecutive_errors", most)

    def init(self, params: Tensors, hyper: Mapping[str, Any]) -> FiniteState:
        # What depends on the values of gradients is counted where they are: nothing waits.
        device = params[0].device if params else torch.device("cpu")

        def there(field: Any) -> Any:
            return moved(field, device) if isinstance(field, torch.Tensor) else field

        none, inner = _parts.no_steps(params), self.init_part(0, params, hyper)
        return FiniteState(none, there(none), there(none), map_state(there, inner))

    def update(
        self, grads: Tensors, state: FiniteState, params: Tensors | None, hyper: Mapping[str, Any]
    ) -> tuple[Sequence[torch.Tensor], FiniteState]:
        if not grads:
            return grads, state
        device = state.failures.device
        finite = torch.stack([g.detach().isfinite().all().to(device) for g in grads]).all()
        failures = torch.where(finite, 0, state.failures + 1)
        most, taken = hyper["max_consecutive_errors"], finite
        if most is not None:
            taken = finite | (failures.amax() > most)
        # Zeros go in where the step is left out, so that no NaN enters a derivative.
        flags = [taken.to(grad.device) for grad in grads]
        safe = [torch.where(flag, grad, 0.0) for flag, grad in zip(flags, grads)]
        own = self.of_part(hyper, 0)
        updates, new = self.parts[0].update(safe, state.inner, params, own)
        updates = [torch.where(flag, update, 0.0) for flag, update in zip(flags, updates)]
        inner = choose_state(taken.expand(len(grads)), new, state.inner)
        total = state.total + (~finite).to(torch.int64)
        return updates, FiniteState(state.count + 1, failures, total, inner)


def apply_if_finite(
    inner: GradientTransformation, max_consecutive_errors: int | None = None
) -> Rule:
    """Take a step only if all gradients are finite; else the updates are 0 and the state stays.

    Without looking at a value: no device is waited for, and ``torch.func.vmap`` decides for each
    task. A step that is left out has the derivative 0 by its gradients, and passes that of the
    state on.

    Args:
        inner: the rule.
        max_consecutive_errors: after so many steps left out in a row the next one is taken as it
            is, so that what is broken shows; ``None`` for never.

    Raises:
        TypeError: if ``inner`` is no rule.
        ValueError: if ``max_consecutive_errors`` is no integer ≥ 0.

    Example:
        >>> import torch, metaphys
        >>> rule = metaphys.transform.apply_if_finite(metaphys.sgd(lr=1.0))
        >>> state = rule.init([torch.zeros(1)])
        >>> updates, state = rule.update([torch.tensor([float("nan")])], state)
        >>> updates[0], state.failures.tolist(), state.inner.count.tolist()
        (tensor([0.]), [1], [0])
    """
    part = {"inner": bound(inner, "inner")}
    return Rule(*compose(_IfFinite, part, max_consecutive_errors=max_consecutive_errors))
