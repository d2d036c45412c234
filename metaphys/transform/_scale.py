"""Gradients times a number, a tensor, a schedule, or one of these for each parameter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from metaphys._errors import check
from metaphys._tree import flatten
from metaphys._typing import Hyper, Schedule, Tensors, Tree
from metaphys.optim import _parts
from metaphys.optim._core import check_rates_fit
from metaphys.optim._empty import Stateless
from metaphys.optim.rule import Rule


class _Scale(Stateless):
    per_leaf = ("step_size",)

    def check(self, hyper: Mapping[str, Any]) -> None:
        value = hyper["step_size"]
        for leaf in [value] if callable(value) else flatten(value)[0]:
            if leaf is not None or leaf is value:
                _parts.check_finite("step_size", leaf, shaped=True)

    def check_fits(self, params: Tensors, hyper: Mapping[str, Any]) -> None:
        check_rates_fit(hyper["step_size"], params, "step_size")

    def transform(
        self, grads: Tensors, params: Tensors | None, hyper: Mapping[str, Any]
    ) -> Sequence[torch.Tensor]:
        self.check_fits(grads, hyper)
        return _parts.scaled(grads, hyper["step_size"])


def scale(step_size: Hyper | Tree) -> Rule:
    r"""Gradients times a factor: :math:`u = \eta g`; η < 0 descends.

    Args:
        step_size: η, a number, a tensor, a schedule, or a tree with one for each parameter.

    Raises:
        ValueError: if a number is not finite.

    Example:
        >>> import torch, metaphys
        >>> rule = metaphys.chain(metaphys.transform.trace(0.9), metaphys.transform.scale(-0.5))
        >>> updates, _ = rule.update([torch.tensor([4.0])], rule.init([torch.zeros(1)]))
        >>> updates[0]
        tensor([-2.])
    """
    return Rule(_Scale(), {"step_size": step_size})


def scale_by_schedule(step_size_fn: Schedule) -> Rule:
    """Gradients times a factor that depends on the number of steps taken so far.

    Args:
        step_size_fn: of a 0-d float64 tensor, such as those of :mod:`metaphys.schedule`.

    Raises:
        TypeError: if it is no function.

    Example:
        >>> import torch, metaphys
        >>> rule = metaphys.transform.scale_by_schedule(lambda steps: 1 / (1 + steps))
        >>> state = rule.init([torch.zeros(1)])
        >>> _, state = rule.update([torch.ones(1)], state)
        >>> rule.update([torch.ones(1)], state)[0]
        [tensor([0.5000])]
    """
    got = type(step_size_fn).__name__
    check(callable(step_size_fn), "step_size_fn", expected="callable", got=got, error=TypeError)
    return scale(step_size_fn)
