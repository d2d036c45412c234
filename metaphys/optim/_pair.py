"""A user's own pair of functions on trees as a core."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from metaphys._errors import check
from metaphys._typing import Leaves, Tensors
from metaphys.optim._core import Core
from metaphys.optim._parts import no_steps
from metaphys.optim._structure import Structure, list_of


class PairState(NamedTuple):
    """Steps taken by each leaf, its place among all leaves, and the state of the user's functions.

    Attributes:
        count: int64 (n,).
        place: for each leaf here, which one it was when ``init`` saw all of them.
        held: ``state``, what the user's functions gave, and ``n``, how many leaves there were.
    """

    count: torch.Tensor  # pyright: ignore[reportIncompatibleMethodOverride]
    place: tuple[int, ...]
    held: dict[str, Any]


class Pair(Core):
    """Two functions on trees: ``init(params)`` and ``update(grads, state, ...)``.

    Attributes:
        functions: the two.
        structure: the tree that they are given; ``None`` for the flat list.
    """

    per_leaf = ()
    whole = True
    any_dtype = True

    def __init__(self, init: Callable[..., Any], update: Callable[..., Any]) -> None:
        for name, function in (("init", init), ("update", update)):
            got = type(function).__name__
            check(callable(function), name, expected="a function", got=got, error=TypeError)
        self.functions = init, update
        self.structure: Structure | None = None

    def check(self, hyper: Mapping[str, Any]) -> None:
        """There are none."""

    def init(self, params: Tensors, hyper: Mapping[str, Any]) -> PairState:
        n = len(params)
        state = self.functions[0](self._structure(n).tree(params))
        count = no_steps(params)
        return PairState(count, tuple(range(n)), {"state": state, "n": n})

    def update(
        self, grads: Tensors, state: PairState, params: Tensors | None, hyper: Mapping[str, Any]
    ) -> tuple[Sequence[torch.Tensor], PairState]:
        held, n = state.held["state"], state.held["n"]
        structure = self._structure(n)
        given: dict[str, Any] = {"params": None, "inplace": False}
        if params is not None:
            given["params"] = structure.tree(_spread(params, state.place, n))
        update = self.functions[1]
        accepted = _accepted(update)
        given = {k: v for k, v in given.items() if accepted is None or k in accepted}
        tree, held = update(structure.tree(_spread(grads, state.place, n)), held, **given)
        updates = structure.leaves(tree, "update")
        updates = [updates[place] for place in state.place]
        for each, grad in zip(updates, grads):
            check(
                isinstance(each, torch.Tensor) and each.shape == grad.shape,
                "update",
                expected=f"a function that gives {tuple(grad.shape)} for a gradient of this shape",
                got=tuple(each.shape) if isinstance(each, torch.Tensor) else type(each).__name__,
            )
        return updates, PairState(state.count + 1, state.place, {"state": held, "n": n})

    def on_tree(self, structure: Structure) -> Pair:
        """The same functions, given such a tree instead of a list."""
        core = copy.copy(self)
        core.structure = structure
        return core

    def _structure(self, n: int) -> Structure:
        return list_of(n) if self.structure is None else self.structure


def _spread(values: Tensors, places: Sequence[int], n: int) -> Leaves:
    """``values`` where they belong among n leaves; ``None`` elsewhere."""
    leaves: list[torch.Tensor | None] = [None] * n
    for place, value in zip(places, values):
        leaves[place] = value
    return leaves


def _accepted(function: Callable[..., Any]) -> set[str] | None:
    """The names of a function's arguments; ``None`` if it takes any."""
    parameters = inspect.signature(function).parameters.values()
    if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters):
        return None
    return {each.name for each in parameters}
