"""Rules made of rules: one core that holds others, and one flat mapping of hyper-parameters.

The hyper-parameters of all parts stay data in one mapping, so that parameter groups, meta-learners
and adjoints see them like those of any rule. One that has its name to itself keeps it: ``lr`` of a
chain with one learning rate is ``lr``. Where names meet, the part's own comes first: ``0.lr``.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from metaphys._typing import Leaves, Tensors
from metaphys.optim._core import Core

Names = tuple[tuple[str, str], ...]
"""Pairs of a part's own name of a hyper-parameter, and its name in the whole."""

Bound = tuple[Core, Mapping[str, Any]]
"""A core and the hyper-parameters of a rule."""

NONE = torch.zeros((), device="cpu")
"""In place of a parameter that is not a part's own, so that its state takes no room."""


class Composite(Core):
    """A core made of other cores; abstract.

    Attributes:
        parts: the cores.
        names: for each of them, what its hyper-parameters are called here.

    Args:
        of_leaves: hyper-parameters of the composite itself that have one value for each leaf, or
            are functions of the parameters that give them.
    """

    per_leaf = ()

    def __init__(
        self, parts: tuple[Core, ...], names: tuple[Names, ...], of_leaves: tuple[str, ...] = ()
    ) -> None:
        self.parts, self.names = parts, names
        self.per_leaf = (*of_leaves, *self._called_here("per_leaf"))
        self.of_params = (*of_leaves, *self._called_here("of_params"))
        self.static = (*type(self).static, *self._called_here("static"))
        self.whole = type(self).whole or any(part.whole for part in parts)
        self.any_dtype = any(part.any_dtype for part in parts)

    def _called_here(self, kind: str) -> list[str]:
        """The parts' hyper-parameters of some kind, as they are called here."""
        pairs = zip(self.parts, self.names)
        return [name for part, names in pairs for own, name in names if own in getattr(part, kind)]

    def of_part(self, hyper: Mapping[str, Any], index: int) -> dict[str, Any]:
        """The hyper-parameters of one part, by its own names."""
        return {own: hyper[name] for own, name in self.names[index]}

    def init_part(self, index: int, params: Leaves, hyper: Mapping[str, Any]) -> Any:
        """The state of one part; for ``None`` it keeps next to nothing."""
        part = self.parts[index]
        if not part.whole:  # only a user's functions have to know what is not theirs
            params = [NONE if param is None else param for param in params]
        return part.init(params, self.of_part(hyper, index))  # type: ignore[arg-type]

    def state_of_part(self, state: Any, index: int) -> Any:
        """The state of one part."""
        return state.inner

    def with_parts(self, state: Any, parts: Sequence[Any]) -> Any:
        """``state`` with the states of the parts replaced."""
        return state._replace(inner=parts[0])

    def check(self, hyper: Mapping[str, Any]) -> None:
        """Refuse what one of the parts refuses."""
        for index, part in enumerate(self.parts):
            part.check(self.of_part(hyper, index))

    def check_fits(self, params: Tensors, hyper: Mapping[str, Any]) -> None:
        """Refuse what one of the parts refuses."""
        for index, part in enumerate(self.parts):
            part.check_fits(params, self.of_part(hyper, index))

    def resolve(
        self, hyper: Mapping[str, Any], state: Any, params: Leaves | None
    ) -> dict[str, Any]:
        """Every part's schedules by the steps that this part has taken."""
        named = {name for names in self.names for _, name in names}
        own = {name: value for name, value in hyper.items() if name not in named}
        resolved = super().resolve(own, state, params)
        for index, part in enumerate(self.parts):
            inner = self.state_of_part(state, index)
            values = part.resolve(self.of_part(hyper, index), inner, params)
            resolved |= {name: values[own] for own, name in self.names[index]}
        return resolved

    def holding(self, state: Any, hyper: Mapping[str, Any]) -> Any:
        """Every part's state with that part's hyper-parameters."""
        parts = [
            part.holding(self.state_of_part(state, index), self.of_part(hyper, index))
            for index, part in enumerate(self.parts)
        ]
        return self.with_parts(state, parts)

    def on_tree(self, structure: Any) -> Core:
        """The same with parts that know the tree."""
        if not self.whole:
            return self
        core = copy.copy(self)
        core.parts = tuple(part.on_tree(structure) for part in self.parts)
        return core

    def taken_apart(self, hyper: Mapping[str, Any]) -> list[Bound]:
        """The parts, each with the hyper-parameters of the rule that it was."""
        return [(part, self.of_part(hyper, index)) for index, part in enumerate(self.parts)]


def compose(
    make: Callable[[tuple[Core, ...], tuple[Names, ...]], Composite],
    parts: Mapping[str, Bound],
    **own: Any,
) -> Bound:
    """The core that ``make`` makes of others, and the hyper-parameters of all.

    Args:
        make: gives the core from those of the parts, and from what their arguments are called.
        parts: the parts; the keys come before names that meet.
        own: hyper-parameters of the composite itself, which keep their names.
    """
    found = Counter([*own, *(name for _, hyper in parts.values() for name in hyper)])
    names = tuple(
        tuple((name, _called(name, prefix, found)) for name in hyper)
        for prefix, (_, hyper) in parts.items()
    )
    together = dict(own)
    for (_, hyper), pairs in zip(parts.values(), names):
        together |= {name: hyper[inner] for inner, name in pairs}
    return make(tuple(core for core, _ in parts.values()), names), together


def _called(name: str, prefix: str, found: Mapping[str, int]) -> str:
    # One with a dot keeps nothing to itself: another part may come to the same name by prefix.
    return name if found[name] == 1 and "." not in name else f"{prefix}.{name}"
