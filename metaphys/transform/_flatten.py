"""A rule on one vector instead of many small tensors, as ``optax.flatten`` has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

from metaphys._errors import refuse
from metaphys._typing import Leaves, Tensors
from metaphys.ops._math import state_dtype
from metaphys.optim import _parts
from metaphys.optim._composite import Composite, compose
from metaphys.optim._core import Core, PerLeaf, select
from metaphys.optim._state import map_state, merge_state, select_state
from metaphys.optim.rule import GradientTransformation, Rule, bound

Blocks = tuple[tuple[int, ...], ...]
"""The leaves of each vector."""


class FlattenState(NamedTuple):
    """Steps taken by each leaf, its place among all leaves, and the state on the vectors.

    Attributes:
        count: int64 (n,).
        place: for each leaf here, which one it was when ``init`` saw all of them.
        held: ``inner``, the rule's own state on the vectors; ``blocks``, the places of the leaves
            that each vector is made of; ``sizes``, the entries of every leaf.
    """

    count: torch.Tensor  # pyright: ignore[reportIncompatibleMethodOverride]
    place: tuple[int, ...]
    held: dict[str, Any]


class _Flatten(Composite):
    whole = True

    def state_of_part(self, state: FlattenState, index: int) -> Any:
        return state.held["inner"]

    def with_parts(self, state: FlattenState, parts: Sequence[Any]) -> FlattenState:
        return state._replace(held={**state.held, "inner": parts[0]})

    def on_tree(self, structure: Any) -> Core:
        return self  # functions of trees inside get the list of vectors

    def init(self, params: Leaves, hyper: Mapping[str, Any]) -> FlattenState:  # type: ignore[override]
        alike: dict[Any, list[int]] = {}
        for place, param in enumerate(params):
            if param is not None:
                alike.setdefault((param.dtype, param.device), []).append(place)
        blocks = tuple(map(tuple, alike.values()))
        inner = self.parts[0].init(_packed(params, blocks), self._on_blocks(hyper, params, blocks))
        sizes = tuple(0 if param is None else param.numel() for param in params)
        held = {"inner": inner, "blocks": blocks, "sizes": sizes}
        return FlattenState(_parts.no_steps(params), tuple(range(len(params))), held)  # type: ignore[arg-type]

    def update(
        self,
        grads: Tensors,
        state: FlattenState,
        params: Tensors | None,
        hyper: Mapping[str, Any],
    ) -> tuple[Sequence[torch.Tensor], FlattenState]:
        blocks, inner = _divided(state)
        here = {place: index for index, place in enumerate(state.place)}
        taken = [index for index, block in enumerate(blocks) if block[0] in here]
        own = tuple(tuple(here[place] for place in blocks[index]) for index in taken)
        updates, new = self.parts[0].update(
            _packed(grads, own),
            inner if len(taken) == len(blocks) else select_state(inner, taken),
            None if params is None else _packed(params, own),
            self._on_blocks(hyper, grads, own),
        )
        inner = new if len(taken) == len(blocks) else merge_state(inner, new, taken)
        held = {**state.held, "inner": inner, "blocks": blocks}
        return _cut(updates, own, grads), FlattenState(state.count + 1, state.place, held)

    def _on_blocks(
        self, hyper: Mapping[str, Any], leaves: Leaves, blocks: Blocks
    ) -> dict[str, Any]:
        own = self.of_part(hyper, 0)
        return {name: _on_entries(name, value, leaves, blocks) for name, value in own.items()}


def _packed(leaves: Leaves, blocks: Blocks) -> list[torch.Tensor]:
    """A vector for each block."""
    # A view costs autograd as much as the arithmetic on a small tensor: none where not needed.
    vectors = [leaf if leaf is None or leaf.ndim == 1 else leaf.reshape(-1) for leaf in leaves]
    return [torch.cat(select(vectors, block)) for block in blocks]


def _cut(vectors: Tensors, blocks: Blocks, like: Tensors) -> list[torch.Tensor]:
    """The inverse of :func:`_packed`: tensors of the shapes of ``like``."""
    leaves = list(like)
    for block, vector in zip(blocks, vectors):
        shapes = [like[index].shape for index in block]
        for index, shape, part in zip(block, shapes, vector.split([s.numel() for s in shapes])):
            leaves[index] = part if len(shape) == 1 else part.view(shape)
    return leaves


def _on_entries(name: str, value: Any, leaves: Leaves, blocks: Blocks) -> Any:
    """A hyper-parameter of leaves as one of vectors: a value for each entry."""
    if isinstance(value, torch.Tensor) and value.ndim:
        value = PerLeaf((value,) * len(leaves))
    if not isinstance(value, PerLeaf) or any(map(callable, value.values)):
        return value  # schedules before the first step, whose value nobody needs yet
    entries: list[torch.Tensor | None] = []
    for own, leaf in zip(value.values, leaves):
        if isinstance(own, bool) or not isinstance(own, (int, float, torch.Tensor)):
            refuse(
                name,
                expected="one for all parameters, or a number for each, inside flatten",
                got=f"{own!r} for one of them",
                remedy="Put a mask around flatten: transform.masked or transform.partition.",
            )
        entries.append(None if leaf is None else _spread(own, leaf))
    return PerLeaf(tuple(_packed(entries, blocks)))


def _spread(value: float | torch.Tensor, leaf: torch.Tensor) -> torch.Tensor:
    given = torch.as_tensor(value, dtype=state_dtype(leaf.dtype), device=leaf.device)
    return given.expand(leaf.shape)


def _divided(state: FlattenState) -> tuple[Blocks, Any]:
    """The blocks and the state on them, divided so that each has a gradient or has none.

    Leaves of a vector have taken the same steps: one that misses a step goes into another vector.
    """
    blocks, inner, sizes = (state.held[name] for name in ("blocks", "inner", "sizes"))
    here = set(state.place)
    plan = [
        (index, tuple(i for i, place in enumerate(block) if (place in here) is present))
        for index, block in enumerate(blocks)
        for present in (True, False)
    ]
    plan = [(index, chosen) for index, chosen in plan if chosen]
    if len(plan) == len(blocks):
        return blocks, inner
    lengths = [[sizes[place] for place in block] for block in blocks]

    def divided(field: Any) -> Any:
        if isinstance(field, Mapping):
            refuse(
                "grads",
                expected="a gradient for every parameter: inside flatten a user's own functions"
                " step them together",
                got="none for some of them",
                remedy="Put transform.masked around flatten, for those that have one.",
            )
        if isinstance(field, torch.Tensor):
            return field[torch.tensor([index for index, _ in plan], device=field.device)]
        return tuple(_part(field[index], lengths[index], chosen) for index, chosen in plan if field)

    new = tuple(tuple(select(blocks[index], chosen)) for index, chosen in plan)
    return new, map_state(divided, inner)


def _part(entry: Any, lengths: list[int], chosen: Sequence[int]) -> Any:
    """Some leaves' part of what a state holds for a vector; a number is that of all of them."""
    if not isinstance(entry, torch.Tensor) or entry.shape != (sum(lengths),):
        return entry
    return torch.cat(select(entry.split(lengths), chosen))


def flatten(inner: GradientTransformation) -> Rule:
    """A rule on one long vector instead of many small tensors (``optax.flatten``).

    Many small parameters cost more in handling than in arithmetic. Here all parameters of one
    dtype and device are laid out in one vector, for which the rule keeps its state, and its update
    is cut into theirs again: the same numbers and derivatives, with the work of one tensor. It is
    for rules that treat every entry alike. One that looks at a whole parameter sees the vector
    instead: :func:`metaphys.muon` takes it for no matrix, adaptive clipping clips it as one unit.

    Args:
        inner: the rule. A hyper-parameter with one value for each parameter may be a number or
            a tensor; a mask belongs around ``flatten``.

    Raises:
        TypeError: if ``inner`` is no rule.
        ValueError: in the update, if a mask is given inside.

    Example:
        >>> import torch, metaphys
        >>> rule = metaphys.transform.flatten(metaphys.adam(lr=0.1))
        >>> params = {"w": torch.zeros(2, 2), "b": torch.zeros(3)}
        >>> state = rule.init(params)
        >>> [tuple(mu.shape) for mu in state.held["inner"].mu]
        [(7,)]
        >>> updates, state = rule.update({"w": torch.ones(2, 2), "b": -torch.ones(3)}, state)
        >>> updates["b"]
        tensor([0.1000, 0.1000, 0.1000])
    """
    return Rule(*compose(_Flatten, {"inner": bound(inner, "inner")}))
