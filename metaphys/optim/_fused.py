"""What rules have in common that are one function of a leaf and have a native kernel."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from metaphys._typing import Tensors
from metaphys.ops._checks import check_lists
from metaphys.ops._leafwise import LeafOperator, Numbers
from metaphys.optim import _parts
from metaphys.optim._core import check_rates_fit
from metaphys.optim._leafwise import Leaf, Leafwise, Moments


class Fused(Leafwise):
    """A leafwise core whose leaves go through one operator where its numbers are numbers.

    A hyper-parameter that is a tensor has a derivative, which a kernel would drop: then the same
    function of a leaf runs in Python.
    """

    @abstractmethod
    def operator(self, hyper: Mapping[str, Any], kept: Sequence[str]) -> LeafOperator:
        """The operator for these options, and for a state that keeps the moments ``kept``."""

    @abstractmethod
    def numbers(self, hyper: Mapping[str, Any], scale: float) -> Numbers:
        """The operator's numbers; ``scale`` is the factor of the update."""

    def leaf(self, at: Leaf) -> tuple[torch.Tensor, Moments]:
        """The direction of one leaf and its next moments, by the operator's own function."""
        grad, moments, factors, hyper = at
        named = zip(self.state._fields[1:], moments)
        kept = {name: moment for name, moment in named if moment is not None}
        operator, numbers = self.operator(hyper, list(kept)), self.numbers(hyper, 1.0)
        direction, after = operator.leaf(grad, tuple(kept.values()), factors, numbers)
        new = iter(after)
        return direction, tuple(None if moment is None else next(new) for moment in moments)

    def leaf_factors(
        self, state: Any, count: torch.Tensor, hyper: Mapping[str, Any]
    ) -> tuple[torch.Tensor, dict[str, tuple[torch.Tensor, ...]]]:
        """The factors, (n, F) in float64, and the next values of the fields ``scalars``."""
        columns = [torch.stack(list(column)) for column in self.factors(count, hyper)]
        if not columns:
            return count.new_zeros((len(count), 0), dtype=torch.float64), {}
        return torch.stack(columns, dim=1), {}

    def update(
        self, grads: Tensors, state: Any, params: Tensors | None, hyper: Mapping[str, Any]
    ) -> tuple[Sequence[torch.Tensor], Any]:
        """The updates, to be added to the parameters, and the next state."""
        if not self._has_kernel(grads, hyper):
            return super().update(grads, state, params, hyper)
        _parts.check_state(state, self.state)
        count = state.count + 1
        factors, scalars = self.leaf_factors(state, count, hyper)
        if factors.requires_grad:
            return super().update(grads, state, params, hyper)
        check_rates_fit(hyper["lr"], grads)
        moments = self._moments(state)
        check_lists(grads, count, values={}, state=moments)
        coupled = 0.0 if self.decoupled(hyper) else hyper["weight_decay"]
        grads = _parts.signed_and_decayed(grads, params, coupled, hyper["maximize"])
        scale, outside = _parts.split_lr(hyper["lr"])
        updates, after = self.operator(hyper, list(moments))(
            grads, list(moments.values()), factors, self.numbers(hyper, scale)
        )
        if self.decoupled(hyper):
            updates = _parts.shrunk(updates, params, scale, hyper["weight_decay"])
        changed = {**scalars, **dict(zip(moments, after))}
        return _parts.scaled(updates, outside), state._replace(count=count, **changed)

    def update_in_place(
        self, params: Tensors, grads: Tensors, state: Any, hyper: Mapping[str, Any]
    ) -> Any:
        """One step without a graph: writes ``params`` and ``state``, and gives the next."""
        lr, decay = hyper["lr"], hyper["weight_decay"]
        if not self._has_kernel(grads, hyper) or not _parts.all_numbers((lr, decay)):
            return super().update_in_place(params, grads, state, hyper)
        moments = self._moments(state)
        check_lists(grads, state.count, values={"params": params}, state=moments)
        factors, scalars = self.leaf_factors(state, state.count + 1, hyper)
        decoupled = self.decoupled(hyper)
        self.operator(hyper, list(moments)).in_place(
            params,
            grads,
            list(moments.values()),
            factors,
            self.numbers(hyper, -lr),
            weight_decay=0.0 if decoupled else decay,
            shrink=-lr * decay if decoupled else 0.0,
            maximize=hyper["maximize"],
        )
        return state._replace(count=state.count.add_(1), **scalars)

    def _moments(self, state: Any) -> dict[str, Tensors]:
        """The fields that hold a tensor of each leaf's shape."""
        fields = dict(zip(self.state._fields[1:], state[1:]))
        return {name: kept for name, kept in fields.items() if kept and name not in self.scalars}

    def _has_kernel(self, grads: Tensors, hyper: Mapping[str, Any]) -> bool:
        """Whether there are leaves, all of them on the CPU, and numbers as the operator needs."""
        outside = ("lr", "weight_decay", *self.constants)
        values = [value for name, value in hyper.items() if name not in outside]
        flat = [
            each for value in values for each in (value if isinstance(value, tuple) else [value])
        ]
        numbers = not any(isinstance(each, torch.Tensor) for each in flat)
        return numbers and len(grads) > 0 and all(grad.is_cpu for grad in grads)
