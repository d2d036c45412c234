"""What a state is made of, and how it is taken apart by leaf and put together again.

A state is a NamedTuple, or a tuple of states (a chain's). A field of a NamedTuple is

- a tensor (n,) with one number for each leaf; ``count`` holds the steps that each has taken;
- a tuple with one entry for each leaf, or an empty one;
- a state, or a tuple of states: that of a rule inside a rule;
- a dict, which belongs to all leaves together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

from metaphys._tree import flatten, unflatten


def is_state(value: Any) -> bool:
    """Whether ``value`` is a state or a tuple of states, not one entry for each leaf."""
    return isinstance(value, tuple) and (
        hasattr(value, "_fields") or (len(value) > 0 and is_state(value[0]))
    )


def steps_of(state: Any) -> torch.Tensor:
    """The steps that each leaf has taken: int64 (n,)."""
    return state.count if hasattr(state, "_fields") else steps_of(state[0])


def map_state(function: Callable[..., Any], state: Any, *others: Any) -> Any:
    """``state`` with each field replaced by ``function`` of it and of the others' same field."""
    parts = [
        (map_state if is_state(field) else _call)(function, field, *rest)
        for field, *rest in zip(state, *others)
    ]
    return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)


def _call(function: Callable[..., Any], *fields: Any) -> Any:
    return function(*fields)


def select_state(state: Any, indices: Sequence[int]) -> Any:
    """The state of some leaves only; what belongs to all of them stays."""

    def selected(field: Any) -> Any:
        if isinstance(field, torch.Tensor):
            return field[_places(indices, field.device)]
        return tuple(field[index] for index in indices) if _one_each(field) else field

    return map_state(selected, state)


def merge_state(state: Any, part: Any, indices: Sequence[int]) -> Any:
    """``state`` with what :func:`select_state` took from it replaced by ``part``."""

    def merged(field: Any, new: Any) -> Any:
        if isinstance(field, torch.Tensor):
            return field.index_copy(0, _places(indices, field.device), new)
        if not _one_each(field):
            return new
        entries = list(field)
        for index, entry in zip(indices, new):
            entries[index] = entry
        return tuple(entries)

    return map_state(merged, state, part)


def choose_state(flags: torch.Tensor, new: Any, old: Any) -> Any:
    """For each leaf ``new`` where its flag is set, else ``old``, without looking at the flags.

    Args:
        flags: bool (n,).
        new: a state.
        old: another one of the same kind. What belongs to all leaves follows the first flag.
    """
    if not len(flags):
        return new
    single = flags.unbind(0)

    def chosen(after: Any, before: Any) -> Any:
        if isinstance(after, torch.Tensor):
            return torch.where(moved(flags, after.device), after, before)
        if isinstance(after, Mapping):
            # Trees of the same structure, or this is no state of the same rule.
            return _chosen_trees(single[0], after, before)
        return tuple(where(*entries) for entries in zip(single, after, before))

    return map_state(chosen, new, old)


def where(flag: torch.Tensor, new: Any, old: Any) -> Any:
    """``new`` or ``old`` by a 0-d flag; what is no tensor is the same in both."""
    if not isinstance(new, torch.Tensor):
        return new
    return torch.where(moved(flag, new.device), new, old)


def moved(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A small tensor on ``device``; one from the CPU goes there without anybody's waiting."""
    return tensor.to(device, non_blocking=tensor.is_cpu)


def _places(indices: Sequence[int], device: torch.device) -> torch.Tensor:
    return moved(torch.tensor(indices, dtype=torch.int64, device="cpu"), device)


def _chosen_trees(flag: torch.Tensor, new: Any, old: Any) -> Any:
    (after, spec), (before, _) = flatten(new), flatten(old)
    return unflatten(spec, [where(flag, a, b) for a, b in zip(after, before)])


def unpack(state: Any, n: int) -> list[dict[str, torch.Tensor]]:
    """A state of n leaves as one dict a leaf; the count is called ``step``, as in torch.optim."""
    columns = {
        name: field.unbind(0) if isinstance(field, torch.Tensor) else field
        for name, field in _fields(state)
        if isinstance(field, torch.Tensor) or field
    }
    return [{name: column[i] for name, column in columns.items()} for i in range(n)]


def pack(like: Any, leaves: Sequence[dict[str, torch.Tensor]]) -> Any:
    """The inverse of :func:`unpack`, with the fields that the state ``like`` has."""
    values = iter([_packed(name, field, leaves) for name, field in _fields(like)])
    return map_state(lambda _: next(values), like)


def names_of(state: Any) -> list[str]:
    """The names that :func:`unpack` gives, those of fields that are empty at present too."""
    return [name for name, _ in _fields(state)]


def _packed(name: str, field: Any, leaves: Sequence[dict[str, torch.Tensor]]) -> Any:
    if isinstance(field, torch.Tensor):
        return torch.stack([leaf[name] for leaf in leaves])
    return tuple(leaf[name] for leaf in leaves) if field else ()


def _fields(state: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Each field with its dotted name, in the order in which :func:`map_state` meets them."""
    names = getattr(state, "_fields", None) or [str(index) for index in range(len(state))]
    for name, field in zip(names, state):
        if is_state(field):
            yield from _fields(field, f"{prefix}{name}.")
        else:
            yield prefix + ("step" if name == "count" else name), field


def _one_each(field: Any) -> bool:
    return isinstance(field, tuple) and len(field) > 0
