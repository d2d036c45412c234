"""Rules one after the other: each one's updates are the next one's gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from metaphys._typing import Tensors
from metaphys.optim._composite import Bound, Composite, compose
from metaphys.optim._core import Core
from metaphys.optim._empty import IDENTITY


class Chain(Composite):
    """A core whose state is the tuple of its parts' states."""

    def state_of_part(self, state: Any, index: int) -> Any:
        return state[index]

    def with_parts(self, state: Any, parts: Sequence[Any]) -> Any:
        return tuple(parts)

    def init(self, params: Tensors, hyper: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple(self.init_part(index, params, hyper) for index in range(len(self.parts)))

    def update(
        self,
        grads: Tensors,
        state: tuple[Any, ...],
        params: Tensors | None,
        hyper: Mapping[str, Any],
    ) -> tuple[Sequence[torch.Tensor], tuple[Any, ...]]:
        return self._through(len(self.parts), grads, state, params, hyper)

    def update_in_place(
        self, params: Tensors, grads: Tensors, state: tuple[Any, ...], hyper: Mapping[str, Any]
    ) -> tuple[Any, ...]:
        last = len(self.parts) - 1
        grads, before = self._through(last, grads, state, params, hyper)
        own = self.of_part(hyper, last)
        return (*before, self.parts[last].update_in_place(params, grads, state[last], own))

    def _through(
        self,
        parts: int,
        grads: Sequence[torch.Tensor],
        state: tuple[Any, ...],
        params: Tensors | None,
        hyper: Mapping[str, Any],
    ) -> tuple[Sequence[torch.Tensor], tuple[Any, ...]]:
        """What the first parts make of the gradients, and their next states."""
        after = []
        for index in range(parts):
            own = self.of_part(hyper, index)
            grads, new = self.parts[index].update(grads, state[index], params, own)
            after.append(new)
        return grads, tuple(after)


def chained(rules: Sequence[Bound]) -> Bound:
    """A chain of rules, with chains among them taken apart and identities left out."""
    flat: list[Bound] = []
    for rule in rules:
        flat += unchained(*rule)
    flat = [(core, hyper) for core, hyper in flat if core != IDENTITY]
    if len(flat) < 2:
        return flat[0] if flat else (IDENTITY, {})
    return compose(Chain, {str(index): bound for index, bound in enumerate(flat)})


def unchained(core: Core, hyper: Mapping[str, Any]) -> list[Bound]:
    """The rules that a chain is made of; any other rule alone."""
    return core.taken_apart(hyper) if isinstance(core, Chain) else [(core, hyper)]
