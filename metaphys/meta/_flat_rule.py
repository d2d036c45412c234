"""Rules on flat lists: what an unroll steps its parameters by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from metaphys.meta._step import GradCallback, called_back
from metaphys.optim.rule import Core, update_leaves


@dataclass(frozen=True, eq=False)
class FlatRule:
    """The rules of one or more groups of parameters as one, on lists over all parameters.

    Attributes:
        cores: the mathematics of each group.
        sizes: how many parameters each has.
        hyper: the hyper-parameters of each.
        first_order: take gradients as constants.
        callback: called before the update with all gradients.
    """

    cores: tuple[Core, ...]
    sizes: tuple[int, ...]
    hyper: Sequence[Mapping[str, Any]]
    first_order: bool = False
    callback: GradCallback | None = None

    def update(
        self, grads: Sequence[Tensor], state: Sequence[Any], params: Sequence[Tensor]
    ) -> tuple[list[Tensor | None], list[Any]]:
        """The updates of all parameters, and the next state of each group."""
        own: Sequence[Tensor | None] = [g.detach() for g in grads] if self.first_order else grads
        if self.callback is not None:
            own = called_back(self.callback, list(own), params)
        updates, states, done = [], [], 0
        for core, size, before, hyper in zip(self.cores, self.sizes, state, self.hyper):
            part = slice(done, done + size)
            changes, after = update_leaves(core, own[part], before, params[part], hyper)
            updates += changes
            states.append(after)
            done += size
        return updates, states
