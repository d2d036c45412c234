"""What rules have in common whose mathematics is stated for one leaf, in Python.

Such a rule writes down what is its own: the state it keeps, and the direction in which a leaf goes.
Sign, weight decay, learning rates, step counts and dtypes are the same for all, and live here. It
runs wherever torch does, with derivatives of every order; a rule that deserves a native kernel
calls ``ops`` instead, as :mod:`metaphys.optim.adam` does. Its public function passes ``locals()``
on: every argument is a hyper-parameter of the same name.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

from metaphys._typing import Tensors
from metaphys.ops._checks import check_lists
from metaphys.ops._math import cast, state_dtype
from metaphys.optim import _parts
from metaphys.optim._core import Core, check_rates_fit, each

Moments = tuple[Any, ...]


class Leaf(NamedTuple):
    """What a rule sees of one leaf.

    Attributes:
        grad: the gradient, with sign and coupled weight decay, in the dtype of the moments.
        moments: in the order of the state's fields; ``None`` for one that is not kept.
        factors: this leaf's value in each column of :meth:`Leafwise.factors`, in the same dtype.
        hyper: the hyper-parameters, tensors among them in the same dtype.
    """

    grad: torch.Tensor
    moments: Moments
    factors: tuple[torch.Tensor, ...]
    hyper: Mapping[str, Any]


class Leafwise(Core):
    """A core stated for one leaf at a time; abstract."""

    state: type[Any]
    """The NamedTuple of the state: ``count``, then one field for each moment."""

    scalars: tuple[str, ...] = ()
    """The fields that may hold one number for a leaf instead of a tensor of its shape."""

    nonnegative: tuple[str, ...] = ("eps", "weight_decay")
    """The hyper-parameters that must be ≥ 0."""

    fractions: tuple[str, ...] = ()
    """Those that must be in [0, 1]."""

    flags: tuple[str, ...] = ("maximize",)
    """Those that must be bools."""

    constants: tuple[str, ...] = ()
    """Those that only the initial state needs: numbers or 0-d tensors ≥ 0, no schedules."""

    betas: int = 0
    """How many decay rates ``betas`` has."""

    @abstractmethod
    def start(self, hyper: Mapping[str, Any]) -> Moments:
        """The value that each moment starts from; ``None`` for one that is not kept."""

    def factors(self, count: torch.Tensor, hyper: Mapping[str, Any]) -> tuple[Sequence[Any], ...]:
        """What depends on the steps alone: columns with one float64 number for each leaf.

        Args:
            count: steps taken by each leaf, this one included; int64 (n,).
            hyper: the hyper-parameters.
        """
        return ()

    @abstractmethod
    def leaf(self, at: Leaf) -> tuple[torch.Tensor, Moments]:
        """The direction d of one leaf, to be multiplied by ``-lr``, and its next moments."""

    def decoupled(self, hyper: Mapping[str, Any]) -> bool:
        """Whether weight decay acts on the parameter itself instead of on its gradient."""
        return False

    def decayed(
        self, update: torch.Tensor, param: torch.Tensor, strength: Any, hyper: Mapping[str, Any]
    ) -> torch.Tensor:
        """An update with decoupled weight decay of ``strength`` = lr · weight_decay."""
        return update - strength * param

    def check(self, hyper: Mapping[str, Any]) -> None:
        """Refuse hyper-parameters outside the ranges that the attributes say."""
        _parts.check_rates("lr", hyper["lr"])
        for name in self.nonnegative:
            _parts.check_at_least(name, hyper[name])
        for name in self.fractions:
            _parts.check_fraction(name, hyper[name])
        for name in self.constants:
            _parts.check_constant(name, hyper[name])
        for name in (*self.flags, "moment_requires_grad"):
            _parts.check_flag(name, hyper[name])
        if self.betas:
            _parts.check_betas(hyper["betas"], self.betas)

    def init(self, params: Tensors, hyper: Mapping[str, Any]) -> Any:
        """The state before the first step."""
        fields = []
        for name, value in zip(self.state._fields[1:], self.start(hyper)):
            kept = () if value is None else params
            if name in self.scalars:
                kept = [param.new_zeros(()) for param in kept]
            fields.append(_parts.filled(kept, value, hyper["moment_requires_grad"]))
        return self.state(_parts.no_steps(params), *fields)

    def update(
        self, grads: Tensors, state: Any, params: Tensors | None, hyper: Mapping[str, Any]
    ) -> tuple[Sequence[torch.Tensor], Any]:
        """The updates, to be added to the parameters, and the next state."""
        _parts.check_state(state, self.state)
        check_rates_fit(hyper["lr"], grads)
        count, n = state.count + 1, len(grads)
        fields = dict(zip(self.state._fields[1:], state[1:]))
        shaped = {name: kept for name, kept in fields.items() if kept and name not in self.scalars}
        check_lists(grads, count, values={}, state=shaped)
        coupled = 0.0 if self.decoupled(hyper) else hyper["weight_decay"]
        grads = _parts.signed_and_decayed(grads, params, coupled, hyper["maximize"])
        moments = list(zip(*(kept or (None,) * n for kept in fields.values())))
        factors = list(zip(*self.factors(count, hyper))) or [()] * n
        rates = each(hyper["lr"], grads)
        by_dtype = {dtype: _cast_all(hyper, dtype) for dtype in {g.dtype for g in grads}}
        updates, after = [], []
        for i, grad in enumerate(grads):
            dtype, values = state_dtype(grad.dtype), by_dtype[grad.dtype]
            own = tuple(factor.to(dtype) for factor in factors[i])
            direction, new = self.leaf(Leaf(grad.to(dtype), moments[i], own, values))
            rate = cast(rates[i], dtype)
            param = None if params is None else params[i].to(dtype)
            updates.append(self._moved(-rate * direction, param, rate, values).to(grad.dtype))
            after.append(new)
        columns = zip(*after) if after else [()] * len(fields)
        return updates, self.state(count, *(_kept(tuple(column)) for column in columns))

    def _moved(
        self, update: torch.Tensor, param: torch.Tensor | None, rate: Any, hyper: Mapping[str, Any]
    ) -> torch.Tensor:
        """The update with decoupled weight decay, where the rule has it and it is not 0."""
        if not self.decoupled(hyper) or _parts.is_zero(hyper["weight_decay"]):
            return update
        (param,) = _parts.needed(None if param is None else (param,))
        return self.decayed(update, param, rate * hyper["weight_decay"], hyper)


def _kept(column: tuple[Any, ...]) -> tuple[Any, ...]:
    return () if column and column[0] is None else column


def _cast_all(hyper: Mapping[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    """The hyper-parameters with every tensor in the dtype that a leaf of ``dtype`` computes in."""
    wide = state_dtype(dtype)

    def narrowed(value: Any) -> Any:
        return tuple(map(narrowed, value)) if isinstance(value, tuple) else cast(value, wide)

    # A rate for each leaf is cast with its leaf.
    return {name: narrowed(value) for name, value in hyper.items() if name != "lr"}
