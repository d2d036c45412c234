"""How a rule's function becomes a class: its arguments, then the options of every meta form."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, overload

from torch import nn

from metaphys.meta._step import GradCallback
from metaphys.meta.optimizer import MetaOptimizer
from metaphys.optim._bind import constructor
from metaphys.optim.rule import Rule

P = ParamSpec("P")


OPTIONS = tuple(
    parameter
    for parameter in inspect.signature(MetaOptimizer).parameters.values()
    if parameter.kind is inspect.Parameter.KEYWORD_ONLY
)
"""What every form takes besides its rule's arguments, such as ``first_order``."""


class Bound(MetaOptimizer, Generic[P]):
    """What type checkers see of a class that :func:`differentiable` makes."""

    @overload
    def __init__(self, module: nn.Module, *arguments: P.args, **hyper: P.kwargs) -> None: ...
    @overload
    def __init__(
        self,
        module: nn.Module,
        *arguments: Any,
        first_order: bool = ...,
        grad_callback: GradCallback | None = ...,
        truncate: int | None = ...,
        record: bool = ...,
        **hyper: Any,
    ) -> None: ...
    def __init__(self, *arguments: Any, **hyper: Any) -> None:
        raise NotImplementedError


def differentiable(rule: Callable[P, Rule], *, moment_requires_grad: bool = True) -> type[Bound[P]]:
    """The base class of a rule's meta form: module, the rule's arguments, then the options.

    Args:
        rule: the rule's function.
        moment_requires_grad: its default in this form.
    """
    defaults = {"moment_requires_grad": moment_requires_grad}
    signature = constructor(rule, "module", defaults=defaults)
    signature = signature.replace(parameters=[*signature.parameters.values(), *OPTIONS])

    class Differentiable(Bound[P]):
        def __init__(self, *arguments: Any, **hyper: Any) -> None:
            given = defaults | signature.bind(self, *arguments, **hyper).arguments
            _, module = given.pop("self"), given.pop("module")
            options = {each.name: given.pop(each.name, each.default) for each in OPTIONS}
            MetaOptimizer.__init__(self, module, rule(**given), **options)  # type: ignore[call-arg]

    Differentiable.__init__.__signature__ = signature  # type: ignore[attr-defined]
    return Differentiable
