"""Rules for some of the parameters: a mask for one rule, labels for several."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch

from metaphys._errors import check, refuse
from metaphys._tree import flatten
from metaphys._typing import Leaves, Tensors, Tree
from metaphys.optim import _parts
from metaphys.optim._composite import Composite, Names, compose
from metaphys.optim._core import Core, each, select, select_hyper, values_of_params
from metaphys.optim._state import merge_state, select_state
from metaphys.optim.rule import GradientTransformation, Rule, bound


class PartitionState(NamedTuple):
    """Steps taken by each leaf, and the state of each rule, which is empty for others' leaves."""

    count: torch.Tensor  # pyright: ignore[reportIncompatibleMethodOverride]
    parts: tuple[Any, ...]


class _Partition(Composite):
    """Each leaf goes to the part with its label; where none has it, the gradient stays."""

    def __init__(
        self,
        parts: tuple[Core, ...],
        names: tuple[Names, ...],
        labels: tuple[Hashable, ...],
        argument: str,
    ) -> None:
        super().__init__(parts, names, (argument,))
        self.labels, self.argument = labels, argument

    def state_of_part(self, state: Any, index: int) -> Any:
        return state.parts[index]

    def with_parts(self, state: Any, parts: Sequence[Any]) -> Any:
        return state._replace(parts=tuple(parts))

    def check(self, hyper: Mapping[str, Any]) -> None:
        super().check(hyper)
        labels = hyper[self.argument]
        if not callable(labels):
            # A None stands where the tree of parameters has one.
            found = flatten(labels)[0]
            self._check_labels([label for label in found if label is not None or label is labels])

    def _check_labels(self, labels: Sequence[Any]) -> None:
        kind, known = (bool, (True, False)) if self.argument == "mask" else (str, self.labels)
        for label in labels:
            if not isinstance(label, kind) or label not in known:
                refuse(
                    self.argument,
                    expected=f"a tree of {list(known)} like the parameters, or a function that"
                    " gives a list of them",
                    got=f"{label!r}",
                )

    def _chosen(self, labels: Any, leaves: Leaves) -> list[list[int]]:
        """The leaves of each part."""
        if callable(labels):
            labels = values_of_params(self.argument, labels, leaves)
        else:
            labels = each(labels, leaves)
        self._check_labels(labels)
        return [[i for i, own in enumerate(labels) if own == label] for label in self.labels]

    def init(self, params: Tensors, hyper: Mapping[str, Any]) -> PartitionState:
        states = []
        for index, chosen in enumerate(self._chosen(hyper[self.argument], params)):
            # A number where the leaf belongs to another part: its state takes no room.
            own = [
                param if i in chosen else None if self.parts[index].whole else param.new_zeros(())
                for i, param in enumerate(params)
            ]
            states.append(self.init_part(index, own, hyper))
        return PartitionState(_parts.no_steps(params), tuple(states))

    def update(
        self,
        grads: Tensors,
        state: PartitionState,
        params: Tensors | None,
        hyper: Mapping[str, Any],
    ) -> tuple[Sequence[torch.Tensor], PartitionState]:
        updates, states = list(grads), list(state.parts)
        for index, chosen in enumerate(self._chosen(hyper[self.argument], grads)):
            if not chosen:
                continue
            own, new = self.parts[index].update(
                select(grads, chosen),
                select_state(state.parts[index], chosen),
                None if params is None else select(params, chosen),
                select_hyper(self.of_part(hyper, index), chosen),
            )
            states[index] = merge_state(state.parts[index], new, chosen)
            for place, update in zip(chosen, own):
                updates[place] = update
        return updates, PartitionState(state.count + 1, tuple(states))


def partition(
    rules: Mapping[str, GradientTransformation],
    labels: Tree | Callable[[Sequence[torch.Tensor]], Sequence[str]],
) -> Rule:
    """A rule for each label: the leaves of each label are stepped by its rule.

    A rule sees its own leaves only, so that a norm is theirs. In ``hyper`` a hyper-parameter that
    only one of the rules has keeps its name, others have the label in front: ``head.lr``.

    Args:
        rules: the rule for each label.
        labels: a tree of labels like the parameters (for a module a dict by parameter name), or a
            function of the flat list of parameters that gives a list of labels.

    Raises:
        TypeError: if one of ``rules`` is no rule.
        ValueError: if a label has no rule.

    Example:
        >>> import torch, metaphys
        >>> rules = {"slow": metaphys.sgd(0.1), "fast": metaphys.sgd(1.0)}
        >>> rule = metaphys.transform.partition(rules, {"body": "slow", "head": "fast"})
        >>> grads = {"body": torch.tensor(1.0), "head": torch.tensor(1.0)}
        >>> rule.update(grads, rule.init(grads))[0]
        {'body': tensor(-0.1000), 'head': tensor(-1.)}
    """
    named = isinstance(rules, Mapping) and all(isinstance(each, str) for each in rules)
    check(named and len(rules) > 0, "rules", expected="a dict of rules by label", got=rules)
    parts = {label: bound(rule, f"rules[{label!r}]") for label, rule in rules.items()}
    return Rule(
        *compose(lambda p, n: _Partition(p, n, tuple(rules), "labels"), parts, labels=labels)
    )


def masked(
    inner: GradientTransformation,
    mask: Tree | Callable[[Sequence[torch.Tensor]], Sequence[bool]] | None = None,
) -> Rule:
    """A rule for some of the parameters; the gradients of the others stay as they are.

    Args:
        inner: the rule.
        mask: for which: a tree of bools like the parameters (for a module a dict by parameter
            name), or a function of the flat list of parameters that gives a list of bools.
            ``None`` is all of them.

    Raises:
        TypeError: if ``inner`` is no rule.
        ValueError: if the mask has something else than bools.

    Example:
        >>> import torch, metaphys
        >>> decay = metaphys.transform.add_decayed_weights(0.5)
        >>> rule = metaphys.transform.masked(decay, {"w": True, "b": False})
        >>> params = {"w": torch.tensor(2.0), "b": torch.tensor(2.0)}
        >>> grads = {"w": torch.tensor(1.0), "b": torch.tensor(1.0)}
        >>> rule.update(grads, rule.init(params), params)[0]
        {'w': tensor(2.), 'b': tensor(1.)}
    """
    part = {"inner": bound(inner, "inner")}
    own = {"mask": True if mask is None else mask}
    return Rule(*compose(partial(_Partition, labels=(True,), argument="mask"), part, **own))
