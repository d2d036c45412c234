"""What a rule is: one optimizer's mathematics as a pair of pure functions on any tree.

A :class:`Rule` is a core (:mod:`metaphys.optim._core`) with hyper-parameters bound to it. Every
other form (stateful, meta, unrolled) calls the same core.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from metaphys._errors import refuse
from metaphys._tree import flatten, flatten_like, flatten_tensors, unflatten
from metaphys._typing import Tree
from metaphys.optim._apply import add_updates, apply_updates, update_leaves
from metaphys.optim._chain import chained, unchained
from metaphys.optim._core import Core, PerLeaf, select, select_hyper, values_of_params
from metaphys.optim._pair import Pair
from metaphys.optim._state import is_state, select_state, steps_of
from metaphys.optim._structure import Structure, per_leaf

__all__ = [
    "Core",
    "GradientTransformation",
    "PerLeaf",
    "Rule",
    "add_updates",
    "apply_updates",
    "bound",
    "select",
    "select_hyper",
    "select_state",
    "steps_of",
    "update_leaves",
    "values_of_params",
]


class GradientTransformation:
    """A pair of pure functions on trees, as TorchOpt and optax have it; every rule is one.

    Called with two functions it makes a rule of them, which then works like any other: in
    :func:`metaphys.chain`, in every stateful and meta form, and in :func:`metaphys.unroll`. A state
    that changes must be in tensors. The forms that work on modules hand over a list of tensors,
    the others the tree that they were given; a missing gradient is ``None`` there.

    Args:
        init: ``init(params) -> state``, any optree tree of tensors.
        update: ``update(grads, state, *, params, inplace) -> (updates, state)``, out of place;
            arguments that it does not have are not given.

    Example:
        >>> import torch, metaphys
        >>> def init(params):
        ...     return ()
        >>> def update(grads, state, params=None):
        ...     return {name: -0.5 * grad for name, grad in grads.items()}, state
        >>> rule = metaphys.GradientTransformation(init, update)
        >>> isinstance(rule, metaphys.Rule)
        True
        >>> isinstance(metaphys.sgd(0.1), metaphys.GradientTransformation)
        True
        >>> params = {"w": torch.tensor([1.0])}
        >>> updates, _ = rule.update({"w": torch.tensor([4.0])}, rule.init(params))
        >>> updates["w"]
        tensor([-2.])
    """

    def __new__(cls, init: Callable[..., Any], update: Callable[..., Any]) -> Rule:
        """The rule made of two functions."""
        return Rule(Pair(init, update), {})

    def init(self, params: Tree) -> Any:
        """The state before the first step."""
        raise NotImplementedError

    def update(
        self, grads: Tree, state: Any, params: Tree | None = None, *, inplace: bool = True
    ) -> tuple[Tree, Any]:
        """The updates, to be added to the parameters, and the next state."""
        raise NotImplementedError

    def chain(self, next: GradientTransformation) -> Rule:
        """This transformation and then ``next``."""
        raise NotImplementedError


@dataclass(frozen=True, init=False, eq=False)
class Rule(GradientTransformation):
    """An optimizer as a pair of pure functions, ``init`` and ``update``, on any tree of tensors.

    Two rules are equal where they compute the same with equal hyper-parameters.

    Attributes:
        core: the mathematics.
        hyper: the hyper-parameters, as data. Each may be a number, a tensor that requires a
            gradient, a schedule (a function of the number of steps taken), and, where
            ``core.per_leaf`` names it, a tree with one value for each parameter.

    Example:
        >>> import torch, metaphys
        >>> rule = metaphys.sgd(lr=0.5)
        >>> params = {"w": torch.tensor([1.0, 2.0])}
        >>> state = rule.init(params)
        >>> updates, state = rule.update({"w": torch.tensor([2.0, 2.0])}, state, params)
        >>> metaphys.apply_updates(params, updates)["w"]
        tensor([0., 1.])
    """

    core: Core
    hyper: Mapping[str, Any]

    # Not __init__: Python would call it with the two functions of a GradientTransformation.
    def __new__(cls, core: Core, hyper: Mapping[str, Any]) -> Rule:
        """A rule, once its core has looked at the hyper-parameters."""
        core.check(hyper)
        rule = object.__new__(cls)
        object.__setattr__(rule, "core", core)
        object.__setattr__(rule, "hyper", hyper)
        return rule

    @property
    def transformations(self) -> tuple[Rule, ...]:
        """The rules that a chain is made of; any other rule is a chain of itself."""
        parts = unchained(self.core, self.hyper)
        return (self,) if len(parts) == 1 else tuple(Rule(*part) for part in parts)

    def __iter__(self) -> Iterator[Callable[..., Any]]:
        # So that ``init, update = rule``, as from TorchOpt's named tuple.
        return iter((self.init, self.update))

    def __reduce__(self) -> tuple[Any, ...]:
        return Rule, (self.core, self.hyper)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Rule):
            return NotImplemented
        (ours, spec), (theirs, found) = flatten(dict(self.hyper)), flatten(dict(other.hyper))
        same = self.core == other.core and spec == found
        return same and all(_equal(a, b) for a, b in zip(ours, theirs))

    def __hash__(self) -> int:
        return hash((self.core, *sorted(self.hyper)))

    def init(self, params: Tree) -> Any:
        """The state before the first step, for parameters ``params`` (any tree)."""
        core, hyper, leaves = self.on_leaves_of(params)
        return core.init(leaves, hyper)

    def on_leaves_of(self, params: Tree) -> tuple[Core, dict[str, Any], list[torch.Tensor]]:
        """The core and the hyper-parameters for the tensors of a tree, and these tensors."""
        leaves, spec = flatten_tensors(params, "params")
        known = [index for index, leaf in enumerate(leaves) if leaf is not None]
        hyper = select_hyper(self._on_leaves(spec, "params"), known)
        return self._on_tree(spec, known), hyper, select(leaves, known)

    def update(
        self, grads: Tree, state: Any, params: Tree | None = None, *, inplace: bool = True
    ) -> tuple[Tree, Any]:
        """The updates that :func:`apply_updates` adds to the parameters, and the next state.

        Args:
            grads: gradients, a tree like that given to ``init``. A ``None`` leaf has no gradient:
                its update is ``None`` and its state stays as it is.
            state: what ``init`` or the last ``update`` returned. A transform that keeps nothing but
                the steps takes ``None`` for none.
            params: the parameters; needed for weight decay.
            inplace: accepted for compatibility. The update is pure either way: neither ``grads``
                nor ``state`` is ever overwritten, and derivatives flow through it.

        Raises:
            TypeError: if ``state`` is no state.
            ValueError: if the trees differ in structure, or weight decay has no ``params``.
        """
        leaves, spec = flatten_tensors(grads, "grads")
        values = None if params is None else flatten_like(params, spec, "params", "grads")
        # `init` has no state for a None among the parameters; such leaves are left out here.
        known, new = range(len(leaves)), self._is_new(state)
        if values is not None or new or len(leaves) != len(steps_of(state)):
            given = leaves if values is None else values
            known = [index for index in known if given[index] is not None]
        if new:
            state = self.core.init(select(leaves, known), self.hyper)
        part, state = update_leaves(
            self._on_tree(spec, known),
            select(leaves, known),
            state,
            None if values is None else select(values, known),
            select_hyper(self._on_leaves(spec, "grads"), known),
        )
        updates: list[torch.Tensor | None] = [None] * len(leaves)
        for index, update in zip(known, part):
            updates[index] = update
        return unflatten(spec, updates), state

    def chain(self, next: GradientTransformation) -> Rule:
        """This rule and then ``next``: see :func:`metaphys.chain`."""
        return Rule(*chained([bound(self, "rule"), bound(next, "next")]))

    def _is_new(self, state: Any) -> bool:
        """Whether the caller has no state, where none is needed."""
        if self.core.stateless and (state is None or not len(steps_of(state))):
            return True
        if not is_state(state):
            refuse(
                "state",
                expected="what `init` or the last `update` returned",
                got=type(state).__name__,
                error=TypeError,
            )
        return False

    def _on_leaves(self, spec: Any, like: str) -> dict[str, Any]:
        """The hyper-parameters for the leaves of a tree."""
        return {
            name: per_leaf(value, spec, name, like) if name in self.core.per_leaf else value
            for name, value in self.hyper.items()
        }

    def _on_tree(self, spec: Any, known: Sequence[int]) -> Core:
        return self.core.on_tree(Structure(spec, tuple(known))) if self.core.whole else self.core


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return a is b or (a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b))
    return type(a) is type(b) and a == b


def bound(rule: GradientTransformation, argument: str) -> tuple[Core, Mapping[str, Any]]:
    """A rule's core and hyper-parameters, or an error that names the argument."""
    if not isinstance(rule, Rule):
        refuse(
            argument,
            expected="a rule such as metaphys.sgd(lr=0.1)",
            got=type(rule).__name__,
            remedy="Make one of a pair of functions by metaphys.GradientTransformation.",
            error=TypeError,
        )
    return rule.core, rule.hyper
