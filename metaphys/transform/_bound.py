"""A rule at lr = -1 is its direction, without its step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from metaphys._typing import Tensors
from metaphys.optim._composite import Composite, Names, compose
from metaphys.optim._core import Core
from metaphys.optim.rule import Rule


class _Direction(Composite):
    """A rule's core at lr = -1, with those hyper-parameters bound that are not its own then."""

    def __init__(self, parts: tuple[Core, ...], names: tuple[Names, ...], **bound: Any) -> None:
        super().__init__(parts, names)
        self.bound = bound

    def of_part(self, hyper: Mapping[str, Any], index: int) -> dict[str, Any]:
        return {**self.bound, **super().of_part(hyper, index), "lr": -1.0}

    def state_of_part(self, state: Any, index: int) -> Any:
        return state

    def with_parts(self, state: Any, parts: Sequence[Any]) -> Any:
        return parts[0]

    def check(self, hyper: Mapping[str, Any]) -> None:
        self.parts[0].check({**self.of_part(hyper, 0), "lr": 1.0})

    def init(self, params: Tensors, hyper: Mapping[str, Any]) -> Any:
        return self.parts[0].init(params, self.of_part(hyper, 0))

    def update(
        self, grads: Tensors, state: Any, params: Tensors | None, hyper: Mapping[str, Any]
    ) -> tuple[Sequence[torch.Tensor], Any]:
        return self.parts[0].update(grads, state, params, self.of_part(hyper, 0))


def direction(rule: Rule, *names: str) -> Rule:
    """``rule`` at lr = -1; the hyper-parameters ``names`` stay data, the others are bound."""
    shown = {name: value for name, value in rule.hyper.items() if name in names}
    bound = {name: value for name, value in rule.hyper.items() if name not in names}
    return Rule(*compose(lambda p, n: _Direction(p, n, **bound), {"": (rule.core, shown)}))
