"""A rule's function bound to a class, whose constructor then takes the function's arguments.

``class RMSprop(stateful(rmsprop))`` is all that a rule's stateful form needs: names, order,
defaults and their types come from the function, so they cannot drift apart.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, ParamSpec

from metaphys.optim.optimizer import Optimizer
from metaphys.optim.rule import Rule

P = ParamSpec("P")


class Bound(Optimizer, Generic[P]):
    """What type checkers see of a class that :func:`stateful` makes."""

    def __init__(self, params: Iterable[Any], *arguments: P.args, **hyper: P.kwargs) -> None:
        raise NotImplementedError


def stateful(rule: Callable[P, Rule]) -> type[Bound[P]]:
    """The base class of a rule's stateful form: parameters first, then the rule's arguments.

    Without ``moment_requires_grad``, which has no meaning where no graph is built.
    """
    signature = constructor(rule, "params", without=("moment_requires_grad",))

    class Stateful(Bound[P]):
        def __init__(self, *arguments: Any, **hyper: Any) -> None:
            bound = signature.bind(self, *arguments, **hyper).arguments
            _, params = bound.pop("self"), bound.pop("params")
            Optimizer.__init__(self, params, rule(**bound))  # type: ignore[call-arg]

    Stateful.__init__.__signature__ = signature  # type: ignore[attr-defined]
    return Stateful


def constructor(
    rule: Callable[..., Rule],
    subject: str,
    *,
    without: tuple[str, ...] = (),
    defaults: Mapping[str, Any] | None = None,
) -> inspect.Signature:
    """The signature of an ``__init__`` that takes ``subject`` and then a rule's arguments.

    Args:
        rule: the rule's public function; its arguments are given by name.
        subject: what comes first, after ``self``.
        without: arguments that are left out.
        defaults: defaults that differ from the function's.
    """
    changed = defaults or {}
    first = [
        inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        for name in ("self", subject)
    ]
    rest = [
        parameter.replace(default=changed.get(name, parameter.default))
        for name, parameter in inspect.signature(rule).parameters.items()
        if name not in without
    ]
    return inspect.Signature([*first, *rest])
