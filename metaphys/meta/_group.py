"""Parameters that share hyper-parameters: what a meta-optimizer steps together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn

from metaphys._errors import check, check_kind, refuse
from metaphys._slots import Slot, parameter_slots
from metaphys._tree import flatten
from metaphys.optim.rule import (
    Core,
    PerLeaf,
    Rule,
    select,
    select_hyper,
    select_state,
    steps_of,
)


@dataclass(eq=False)
class Group:
    """Some parameters of one module: their slots, their rule, its state, its hyper-parameters.

    ``hyper`` are those of ``rule``, where a dict by name has become one value for each slot.
    """

    module: nn.Module
    slots: list[Slot]
    rule: Rule
    state: Any
    hyper: dict[str, Any]

    @property
    def core(self) -> Core:
        """The mathematics."""
        return self.rule.core

    @classmethod
    def of(cls, module: nn.Module, rule: Rule, slots: list[Slot] | None = None) -> Group:
        """The parameters of ``module`` that require a gradient, or ``slots``, at the start."""
        slots = stepped_slots(module) if slots is None else slots
        hyper = by_name(rule.hyper, rule.core, slots)
        state = rule.core.init([slot.get() for slot in slots], hyper)
        return cls(module, slots, rule, state, hyper)

    def params(self) -> list[torch.Tensor]:
        """The parameters as they are now."""
        return [slot.get() for slot in self.slots]

    def without(self, gone: Sequence[int]) -> Group:
        """The group with its state, less the parameters at ``gone``."""
        return self.only([i for i in range(len(self.slots)) if i not in set(gone)], {})

    def only(self, taken: Sequence[int], given: Mapping[str, Any]) -> Group:
        """The parameters at ``taken`` as a group with the hyper-parameters ``given``.

        Their state moves along. Where it cannot be taken apart, or the rule keeps another kind of
        state for ``given``, it is made anew, which is only right before the first step.
        """
        slots = select(self.slots, taken)
        hyper = {**select_hyper(self.hyper, taken), **by_name(given, self.core, slots)}
        rule = Rule(self.core, hyper)
        start = self.core.init([slot.get() for slot in slots], hyper)
        state = start if self.core.whole else select_state(self.state, taken)
        if self.core.whole or layout(start) != layout(state):
            steps = steps_of(self.state)
            check(
                not bool(steps.any()),
                "params",
                expected="not stepped yet where their state cannot move to the new group",
                got=f"parameters after {steps.tolist()} steps",
                remedy="Add the group before the first step.",
            )
            state = start
        return Group(self.module, slots, rule, state, hyper)


def with_group(
    groups: Sequence[Group],
    rule: Rule,
    module: nn.Module,
    params: Iterable[str | torch.Tensor] | None,
    given: Mapping[str, Any],
) -> list[Group]:
    """``groups`` and one more; see :meth:`metaphys.MetaOptimizer.add_param_group`.

    Parameters that come from several groups make a new one for each, for their state's sake.
    """
    slots = stepped_slots(module) if params is None else chosen_slots(module, params)
    wanted = {id(slot.get()): slot for slot in slots}
    kept: list[Group] = []
    added: list[Group] = []
    for group in groups:
        moving = [i for i, param in enumerate(group.params()) if id(param) in wanted]
        check(
            not (moving and params is None),
            "module",
            expected="a module with parameters that this optimizer does not step yet",
            got=f"one that shares {[group.slots[i].name for i in moving]} with an earlier one",
            remedy="`params=` gives some of them hyper-parameters of their own.",
        )
        if moving:
            added.append(group.only(moving, given))
        if len(moving) < len(group.slots):
            kept.append(group.without(moving) if moving else group)
        for index in moving:
            del wanted[id(group.slots[index].get())]
    if wanted:
        new = Rule(rule.core, {**rule.hyper, **given})
        added.append(Group.of(module, new, list(wanted.values())))
    return [*kept, *added]


def stepped_slots(module: nn.Module) -> list[Slot]:
    """The slots of the parameters that require a gradient, of which there must be one."""
    check_kind(module, nn.Module, "module", expected="an nn.Module")
    slots = [slot for slot in parameter_slots(module) if slot.get().requires_grad]
    if not slots:
        refuse(
            "module",
            expected="a module with a parameter that requires a gradient",
            got=f"{type(module).__name__} without one",
            remedy="Register its parameters, or set requires_grad on those to be stepped.",
        )
    return slots


def chosen_slots(module: nn.Module, params: Iterable[str | torch.Tensor]) -> list[Slot]:
    """The slots of those parameters of ``module`` that ``params`` names, or holds."""
    wanted = [params] if isinstance(params, (str, torch.Tensor)) else list(params)
    slots = stepped_slots(module)
    names = {name: slot for slot in slots for name in slot.names}
    held = {id(slot.get()): slot for slot in slots}
    chosen: dict[str, Slot] = {}
    for each in wanted:
        slot = names.get(each) if isinstance(each, str) else held.get(id(each))
        if slot is None:
            refuse(
                "params",
                expected=f"parameters of the module that require a gradient: {list(names)}",
                got=repr(each) if isinstance(each, str) else f"a {type(each).__name__} beside them",
            )
        chosen[slot.name] = slot
    check(bool(chosen), "params", expected="at least one parameter", got="none")
    return list(chosen.values())


def by_name(given: Mapping[str, Any], core: Core, slots: Sequence[Slot]) -> dict[str, Any]:
    """Hyper-parameters, where a dict by parameter name becomes one value for each slot."""
    return {
        name: _each(value, [slot.name for slot in slots], name) if name in core.per_leaf else value
        for name, value in given.items()
    }


def _each(value: Any, names: list[str], argument: str) -> Any:
    if isinstance(value, PerLeaf) or not isinstance(value, (Mapping, Sequence)):
        return value
    if not isinstance(value, Mapping) or set(value) != set(names):
        refuse(
            argument,
            expected=f"one value, or a dict with the parameters' names {names}",
            got=list(value),
        )
    return PerLeaf(tuple(value[name] for name in names))


class Layout(NamedTuple):
    """What kind of state this is, and of tensors of which shapes."""

    kind: str
    shapes: list[torch.Size]
    spec: Any

    def __str__(self) -> str:
        shapes = [tuple(shape) for shape in self.shapes]
        return f"{self.kind} of shapes {shapes}, as {self.spec}"


def layout(state: Any) -> Layout:
    """The layout of a rule's state."""
    leaves, spec = flatten(state)
    shapes = [leaf.shape for leaf in leaves if isinstance(leaf, torch.Tensor)]
    return Layout(type(state).__name__, shapes, spec)
