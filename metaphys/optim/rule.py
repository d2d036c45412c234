"""What a rule is: one optimizer's mathematics as a pair of pure functions.

A :class:`Core` is the mathematics on flat lists, written once for each optimizer. A :class:`Rule`
is a core with hyper-parameters bound to it, on any tree of tensors. Every other form (stateful,
meta, unrolled) calls the same core.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from metaphys._errors import check, refuse
from metaphys._tree import flatten, flatten_like, flatten_tensors, unflatten
from metaphys._typing import Leaves, Tensors, Tree


class Core(ABC):
    """One optimizer's mathematics on flat lists of tensors: pure, out of place, no ``None``.

    A state is a NamedTuple whose field ``count`` holds the steps that each leaf has taken (int64,
    (n,), on the CPU: no device ever waits for it) and whose other fields are tuples of n tensors,
    or empty tuples.
    """

    per_leaf: tuple[str, ...] = ("lr",)
    """The hyper-parameters that may have one value for each leaf."""

    of_params: tuple[str, ...] = ()
    """Those that may be a function of the list of parameters instead of the steps."""

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

    @abstractmethod
    def update_in_place(
        self, params: Tensors, grads: Tensors, state: Any, hyper: Mapping[str, Any]
    ) -> bool:
        """One step without a graph, writing ``params`` and ``state``; False if it cannot."""


@dataclass(frozen=True)
class Rule:
    """An optimizer as a pair of pure functions, ``init`` and ``update``, on any tree of tensors.

    Attributes:
        core: the mathematics.
        hyper: the hyper-parameters, as data. Each may be a number, a tensor that requires a
            gradient, a schedule (a function of the number of steps taken), and, where
            ``core.per_leaf`` names it, a tree with one value for each parameter.

    Example:
        >>> import torch, metaphys
        >>> rule = metaphys.sgd(lr=0.5)
        >>> params = {"w": torch.tensor([1.0, 2.0])}
        >>> state = rule.init(params)
        >>> updates, state = rule.update({"w": torch.tensor([2.0, 2.0])}, state, params)
        >>> metaphys.apply_updates(params, updates)["w"]
        tensor([0., 1.])
    """

    core: Core
    hyper: Mapping[str, Any]

    def __post_init__(self) -> None:
        self.core.check(self.hyper)

    def init(self, params: Tree) -> Any:
        """The state before the first step, for parameters ``params`` (any tree)."""
        leaves, _ = flatten_tensors(params, "params")
        return self.core.init([leaf for leaf in leaves if leaf is not None], self.hyper)

    def update(
        self, grads: Tree, state: Any, params: Tree | None = None, *, inplace: bool = True
    ) -> tuple[Tree, Any]:
        """The updates that :func:`apply_updates` adds to the parameters, and the next state.

        Args:
            grads: gradients, a tree like that given to ``init``. A ``None`` leaf has no gradient:
                its update is ``None`` and its state stays as it is.
            state: what ``init`` or the last ``update`` returned.
            params: the parameters; needed for weight decay.
            inplace: accepted for compatibility. The update is pure either way: neither ``grads``
                nor ``state`` is ever overwritten, and derivatives flow through it.

        Raises:
            ValueError: if the trees differ in structure, or weight decay has no ``params``.
        """
        leaves, spec = flatten_tensors(grads, "grads")
        values = None if params is None else flatten_like(params, spec, "params", "grads")
        hyper = {
            name: _per_leaf(value, spec, name) if name in self.core.per_leaf else value
            for name, value in self.hyper.items()
        }
        # `init` has no state for a None among the parameters; such leaves are left out here.
        known = range(len(leaves))
        if values is not None or len(leaves) != state.count.shape[-1]:
            given = leaves if values is None else values
            known = [index for index in known if given[index] is not None]
        part, state = update_leaves(
            self.core,
            select(leaves, known),
            state,
            None if values is None else select(values, known),
            select_hyper(hyper, known),
        )
        updates: list[torch.Tensor | None] = [None] * len(leaves)
        for index, update in zip(known, part):
            updates[index] = update
        return unflatten(spec, updates), state


class PerLeaf(NamedTuple):
    """A hyper-parameter that has one value for each leaf.

    Attributes:
        values: the values, in the order of the leaves.
    """

    values: tuple[Any, ...]


def _per_leaf(value: Any, spec: Any, name: str) -> Any:
    if value is None or isinstance(value, (int, float, torch.Tensor, PerLeaf)) or callable(value):
        return value
    leaves, found = flatten(value)
    check(
        found == spec,
        name,
        expected="a number, a tensor, a schedule, or a tree of the same structure as `grads`",
        got=f"{found} instead of {spec}",
    )
    return PerLeaf(tuple(leaves))


def resolve(
    core: Core, hyper: Mapping[str, Any], count: torch.Tensor, params: Leaves | None
) -> dict[str, Any]:
    """``hyper`` with every function replaced by its value: schedules take the steps so far.

    The steps are a float64 tensor: ``0.9**t`` with an integer t would be float32.
    """
    resolved = dict(hyper)
    for name, value in hyper.items():
        if callable(value) and name in core.of_params:
            resolved[name] = PerLeaf(tuple(values_of_params(name, value, params)))
        elif isinstance(value, PerLeaf):
            resolved[name] = PerLeaf(tuple(_scheduled(each, count) for each in value.values))
        elif isinstance(value, (tuple, list)):  # betas
            resolved[name] = tuple(_scheduled(each, count) for each in value)
        else:
            resolved[name] = _scheduled(value, count)
    return resolved


def _scheduled(value: Any, count: torch.Tensor) -> Any:
    if not callable(value):
        return value
    return value(count.to(torch.float64).amax() if len(count) else count.sum())


def values_of_params(
    name: str, value: Callable[[Leaves], Any] | Sequence[Any], params: Leaves | None
) -> list[Any]:
    """A hyper-parameter that is a list, or a function of the parameters, with one for each."""
    if params is None:
        refuse("params", expected=f"given when `{name}` is a function of them", got=None)
    values = list(value(params) if callable(value) else value)
    check(
        len(values) == len(params),
        name,
        expected=f"{len(params)} values, one for each parameter",
        got=f"{len(values)}",
    )
    return values


def update_leaves(
    core: Core, grads: Leaves, state: Any, params: Leaves | None, hyper: Mapping[str, Any]
) -> tuple[list[torch.Tensor | None], Any]:
    """``core.update`` where some leaves may have no gradient; those keep their state."""
    check(
        len(grads) == state.count.shape[-1],
        "grads",
        expected=f"a tree of the {state.count.shape[-1]} tensors that `init` was given",
        got=f"{len(grads)} leaves",
        remedy="Make a new state with `init` when parameters come or go.",
    )
    hyper = resolve(core, hyper, state.count, params)
    if all(grad is not None for grad in grads):
        updates, state = core.update(grads, state, params, hyper)  # type: ignore[arg-type]
        return list(updates), state
    present = [index for index, grad in enumerate(grads) if grad is not None]
    result: list[torch.Tensor | None] = [None] * len(grads)
    if not present:
        return result, state
    updates, part = core.update(
        select(grads, present),
        select_state(state, present),
        None if params is None else select(params, present),
        select_hyper(hyper, present),
    )
    for index, update in zip(present, updates):
        result[index] = update
    return result, _merge_state(state, part, present)


def select(values: Sequence[Any], indices: Sequence[int]) -> list[Any]:
    """The values of some leaves only."""
    return [values[index] for index in indices]


def select_hyper(hyper: Mapping[str, Any], indices: Sequence[int]) -> dict[str, Any]:
    """The hyper-parameters of some leaves only."""
    return {
        name: PerLeaf(tuple(select(value.values, indices))) if isinstance(value, PerLeaf) else value
        for name, value in hyper.items()
    }


def select_state(state: Any, indices: Sequence[int]) -> Any:
    """The state of some leaves only."""
    fields = {
        name: tuple(select(value, indices)) if value else value
        for name, value in state._asdict().items()
        if name != "count"
    }
    return type(state)(count=state.count[torch.tensor(indices)], **fields)


def _merge_state(state: Any, part: Any, indices: Sequence[int]) -> Any:
    fields = {}
    for name, value in state._asdict().items():
        if name != "count" and value:
            merged = list(value)
            for index, new in zip(indices, getattr(part, name)):
                merged[index] = new
            fields[name] = tuple(merged)
        elif name != "count":
            fields[name] = value
    count = state.count.index_copy(0, torch.tensor(indices), part.count)
    return type(state)(count=count, **fields)


def apply_updates(params: Tree, updates: Tree, *, inplace: bool = True) -> Tree:
    """``params + updates``, leaf by leaf; a ``None`` update leaves its parameter as it is.

    Args:
        params: any tree of tensors.
        updates: a tree of the same structure, as ``rule.update`` returns it.
        inplace: write into the tensors of ``params``, without a graph. Choose ``False`` to
            differentiate through the step.

    Returns:
        The new parameters; with ``inplace`` these are the tensors of ``params`` themselves.

    Raises:
        ValueError: if the structures or shapes differ; nothing is written then.

    Example:
        >>> import torch, metaphys
        >>> params = {"w": torch.tensor([1.0]), "b": torch.tensor([2.0])}
        >>> updates = {"w": torch.tensor([-0.5]), "b": None}
        >>> metaphys.apply_updates(params, updates, inplace=False)
        {'w': tensor([0.5000]), 'b': tensor([2.])}
    """
    leaves, spec = flatten_tensors(params, "params")
    changes = flatten_like(updates, spec, "updates", "params")
    pairs = [(p, u) for p, u in zip(leaves, changes) if p is not None and u is not None]
    for param, change in pairs:
        check(
            param.shape == change.shape,
            "updates",
            expected=f"of shape {tuple(param.shape)}, the parameter's",
            got=f"shape {tuple(change.shape)}",
        )
    if inplace:
        with torch.no_grad():
            for param, change in pairs:
                param.add_(change)
        return params
    return unflatten(spec, add_updates(leaves, changes))


def add_updates(params: Leaves, updates: Leaves) -> list[torch.Tensor | None]:
    """``params + updates`` on flat lists, out of place; ``None`` updates change nothing."""
    return [p if p is None or u is None else p + u for p, u in zip(params, updates)]
