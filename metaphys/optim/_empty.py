"""Transforms that keep nothing but the steps taken."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

from metaphys._typing import Tensors
from metaphys.optim._core import Core
from metaphys.optim._parts import no_steps


class EmptyState(NamedTuple):
    """The steps taken by each leaf, for schedules, and nothing else."""

    count: torch.Tensor = no_steps(())  # pyright: ignore[reportIncompatibleMethodOverride]


class UninitializedState(NamedTuple):
    """In place of a state, before the first step has shown what there is to step."""


class Stateless(Core):
    """A transform without a state of its own; abstract."""

    per_leaf = ()
    stateless = True

    @abstractmethod
    def transform(
        self, grads: Tensors, params: Tensors | None, hyper: Mapping[str, Any]
    ) -> Sequence[torch.Tensor]:
        """What becomes of the gradients."""

    def check(self, hyper: Mapping[str, Any]) -> None:
        """Nothing to refuse."""

    def init(self, params: Tensors, hyper: Mapping[str, Any]) -> EmptyState:
        return EmptyState(no_steps(params))

    def update(
        self, grads: Tensors, state: EmptyState, params: Tensors | None, hyper: Mapping[str, Any]
    ) -> tuple[Sequence[torch.Tensor], EmptyState]:
        return self.transform(grads, params, hyper), EmptyState(state.count + 1)


class Identity(Stateless):
    """Gradients as they are."""

    def transform(
        self, grads: Tensors, params: Tensors | None, hyper: Mapping[str, Any]
    ) -> Sequence[torch.Tensor]:
        return grads


IDENTITY = Identity()
