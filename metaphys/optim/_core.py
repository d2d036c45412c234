"""A core: the mathematics of one optimizer, on flat lists, with hyper-parameters as an argument.

Every form of a rule calls the same core. A core may be made of others
(:mod:`metaphys.optim._composite`): what the forms ask of it is the same.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any, NamedTuple

import torch

from metaphys._errors import check, refuse
from metaphys._typing import Leaves, Tensors
from metaphys.optim._state import steps_of


class Core(ABC):
    """One optimizer's mathematics on flat lists of tensors: pure, out of place, no ``None``.

    A state is a NamedTuple whose field ``count`` holds the steps that each leaf has taken (int64,
    (n,), on the CPU: no device ever waits for it) and whose other fields are tuples of n tensors,
    or empty tuples; or it is made of such states: see :mod:`metaphys.optim._state`.

    Two cores are equal where their types and attributes are.
    """

    per_leaf: tuple[str, ...] = ("lr",)
    """The hyper-parameters that may have one value for each leaf."""

    of_params: tuple[str, ...] = ()
    """Those that may be a function of the list of parameters instead of the steps."""

    static: tuple[str, ...] = ()
    """Numbers that choose what is computed, so that they are never tensors."""

    whole: bool = False
    """Whether the state cannot be taken apart, into one for each leaf."""

    any_dtype: bool = False
    """Whether gradients may be of any floating or complex dtype, as a user's own functions like."""

    stateless: bool = False
    """Whether the state holds the steps alone, so that a caller need not have one."""

    @abstractmethod
    def check(self, hyper: Mapping[str, Any]) -> None:
        """Refuse hyper-parameters outside their range, naming the argument."""

    @abstractmethod
    def init(self, params: Tensors, hyper: Mapping[str, Any]) -> Any:
        """The state before the first step."""

    @abstractmethod
    def update(
        self, grads: Tensors, state: Any, params: Tensors | None, hyper: Mapping[str, Any]
    ) -> tuple[Sequence[torch.Tensor], Any]:
        """The updates, to be added to the parameters, and the next state."""

    def update_in_place(
        self, params: Tensors, grads: Tensors, state: Any, hyper: Mapping[str, Any]
    ) -> Any:
        """One step without a graph: writes ``params``, may write ``state``, gives the next."""
        updates, state = self.update(grads, state, params, hyper)
        for param, update in zip(params, updates):
            param.add_(update)
        return state

    def check_fits(self, params: Tensors, hyper: Mapping[str, Any]) -> None:
        """Refuse hyper-parameters that would give a parameter another shape."""
        if "lr" in hyper:
            check_rates_fit(hyper["lr"], params)

    def resolve(
        self, hyper: Mapping[str, Any], state: Any, params: Leaves | None
    ) -> dict[str, Any]:
        """``hyper`` with every function replaced by its value: schedules take the steps so far.

        The steps are a float64 tensor: ``0.9**t`` with an integer t would be float32.
        """
        count, resolved = steps_of(state), dict(hyper)
        for name, value in hyper.items():
            shaped = name in self.per_leaf
            if callable(value) and name in self.of_params:
                resolved[name] = PerLeaf(tuple(values_of_params(name, value, params)))
            elif isinstance(value, PerLeaf):
                own = (scheduled(name, each, count, shaped=shaped) for each in value.values)
                resolved[name] = PerLeaf(tuple(own))
            elif isinstance(value, (tuple, list)):  # betas
                pairs = enumerate(value)
                resolved[name] = tuple(scheduled(f"{name}[{i}]", x, count) for i, x in pairs)
            elif callable(value):
                resolved[name] = scheduled(name, value, count, shaped=shaped)
        return resolved

    def holding(self, state: Any, hyper: Mapping[str, Any]) -> Any:
        """``state``, where hyper-parameters that it holds itself become those of ``hyper``."""
        return state

    def on_tree(self, structure: Any) -> Core:
        """This core for leaves of such a tree; for those that call functions of trees."""
        return self

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((type(self), *sorted(vars(self))))


class PerLeaf(NamedTuple):
    """A hyper-parameter that has one value for each leaf.

    Attributes:
        values: the values, in the order of the leaves.
    """

    values: tuple[Any, ...]


def scheduled(name: str, value: Any, count: torch.Tensor, *, shaped: bool = False) -> Any:
    """A hyper-parameter after ``count`` steps of each leaf.

    Args:
        name: what it is called.
        value: the hyper-parameter; anything but a function is its own value.
        count: int64 (n,).
        shaped: a schedule may give a tensor with a value for each entry of a parameter.
    """
    if not callable(value):
        return value
    found = value(count.to(torch.float64).amax() if len(count) else count.sum())
    if isinstance(found, torch.Tensor):
        if found.ndim and not shaped:
            expected, got = "a schedule of numbers", f"one that gives shape {tuple(found.shape)}"
            refuse(name, expected=expected, got=got)
        return found
    if not isinstance(found, Real):  # NumPy's floats are, too
        expected, got = "a schedule of numbers", f"one that gives {type(found).__name__}"
        refuse(name, expected=expected, got=got, error=TypeError)
    return found if isinstance(found, (int, float)) else float(found)


def each(value: Any, leaves: Sequence[Any]) -> Sequence[Any]:
    """A hyper-parameter's value for each leaf."""
    return value.values if isinstance(value, PerLeaf) else [value] * len(leaves)


def values_of_params(
    name: str, value: Callable[[Leaves], Any] | Sequence[Any], params: Leaves | None
) -> list[Any]:
    """A hyper-parameter that is a list, or a function of the parameters, with one for each."""
    if params is None:
        refuse("params", expected=f"given when `{name}` is a function of them", got=None)
    found = value(params) if callable(value) else value
    listed = isinstance(found, (tuple, list))
    check(listed, name, expected="a list", got=type(found).__name__, error=TypeError)
    values = list(found)
    check(
        len(values) == len(params),
        name,
        expected=f"{len(params)} values, one for each parameter",
        got=f"{len(values)}",
    )
    return values


def check_rates_fit(lr: Any, params: Tensors, name: str = "lr") -> None:
    """Refuse a learning rate that would give a parameter another shape."""
    if isinstance(lr, (int, float)):
        return
    for rate, param in zip(each(lr, params), params):
        check(rate is not None, name, expected="given for every parameter", got=None)
        if isinstance(rate, torch.Tensor) and rate.ndim:
            fits = rate.ndim <= param.ndim and all(
                have in (1, want) for have, want in zip(rate.shape[::-1], param.shape[::-1])
            )
            check(
                fits,
                name,
                expected=f"a number, or broadcast to a parameter's shape {tuple(param.shape)}",
                got=f"one of shape {tuple(rate.shape)}",
                remedy="Give a tree with one for each parameter.",
            )


def select(values: Sequence[Any], indices: Sequence[int]) -> list[Any]:
    """The values of some leaves only."""
    return [values[index] for index in indices]


def select_hyper(hyper: Mapping[str, Any], indices: Sequence[int]) -> dict[str, Any]:
    """The hyper-parameters of some leaves only."""
    return {
        name: PerLeaf(tuple(select(value.values, indices))) if isinstance(value, PerLeaf) else value
        for name, value in hyper.items()
    }
