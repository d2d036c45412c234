"""TorchOpt's classes of compositions, which here are rules: names to make and to recognise them."""

from __future__ import annotations

from typing import Any

from metaphys.optim._chain import chained
from metaphys.optim._core import Core
from metaphys.optim._empty import IDENTITY, Identity
from metaphys.optim.rule import GradientTransformation, Rule, bound


class _Kind(type):
    """A class whose instances are the rules with such a core."""

    core: type[Any]

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, Rule) and isinstance(instance.core, cls.core)


class ChainedGradientTransformation(metaclass=_Kind):
    """TorchOpt's name of a chain: made as :func:`metaphys.chain` makes it.

    Every rule is one, of itself where it is made of nothing else, and :func:`metaphys.identity` is
    the chain of nothing: a chain of one rule is that rule.

    Example:
        >>> import metaphys
        >>> parts = metaphys.clip.clip_grad_norm(1.0), metaphys.sgd(lr=0.1)
        >>> rule = ChainedGradientTransformation(*parts)
        >>> rule == metaphys.chain(*parts), rule.transformations == parts
        (True, True)
        >>> isinstance(metaphys.sgd(lr=0.1), ChainedGradientTransformation)
        True
    """

    core = Core

    def __new__(cls, *transformations: GradientTransformation) -> Rule:
        """The chain."""
        return Rule(*chained([bound(each, "transformations") for each in transformations]))


class IdentityGradientTransformation(metaclass=_Kind):
    """TorchOpt's name of :func:`metaphys.optim.identity`, the rule that changes nothing.

    Example:
        >>> import metaphys
        >>> isinstance(IdentityGradientTransformation(), IdentityGradientTransformation)
        True
    """

    core = Identity

    def __new__(cls) -> Rule:
        """The identity."""
        return Rule(IDENTITY, {})
