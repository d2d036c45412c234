"""An unroll of what a module holds: the loss as a function of values put where they belong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from metaphys._errors import refuse
from metaphys._slots import Slot, parameter_slots, tensor_slots
from metaphys._tree import flatten
from metaphys._typing import Tree
from metaphys.meta._flat_rule import FlatRule
from metaphys.meta._group import Group
from metaphys.meta._history import Moment
from metaphys.meta._loop import Flat
from metaphys.meta._run import End, Options, Trees, run
from metaphys.meta.adjoint._closure import is_tracked


@dataclass(frozen=True, eq=False)
class ModuleLoss:
    """A loss computed with modules, as a function of all that they hold.

    Args:
        loss_fn: takes ``meta`` and a batch, those of them that there are.
        slots: where the stepped parameters are.
        meta: a tree; each module in it stands for its parameters that require a gradient.
        modules: those that are stepped.
    """

    loss_fn: Callable[..., Any]
    slots: Sequence[Slot]
    meta: Tree
    modules: Sequence[nn.Module]
    buffers: list[Slot] = field(init=False)
    learned: list[Slot] = field(init=False)
    modes: list[tuple[nn.Module, bool]] = field(init=False)

    def __post_init__(self) -> None:
        learning = [leaf for leaf in flatten(self.meta)[0] if isinstance(leaf, nn.Module)]
        together = nn.ModuleList([*self.modules, *learning])
        stepped = {id(slot.get()) for slot in self.slots}
        learned = [
            slot
            for slot in parameter_slots(nn.ModuleList(learning))
            if slot.get().requires_grad and id(slot.get()) not in stepped
        ]
        object.__setattr__(self, "learned", learned)
        # When a step is run again, backwards, the module is often in evaluation mode.
        modes = [(module, module.training) for each in together for module in each.modules()]
        object.__setattr__(self, "modes", modes)
        object.__setattr__(self, "buffers", tensor_slots(together, ("_buffers",)))
        for slot in self.buffers:
            self._check_constant(slot, slot.get())

    def __call__(
        self, params: list[Tensor], meta: tuple[Tree, list[Tensor]], *rest: Any
    ) -> tuple[Tensor, Flat] | Tensor:
        """The loss, and what the buffers become where there are any."""
        before = rest[-1] if self.buffers else ()
        given = [] if self.meta is None else [meta[0]]
        batch = rest[: len(rest) - bool(self.buffers)]
        slots = [*self.slots, *self.learned, *self.buffers]
        # Clones: layers change their buffers in place.
        values = [*params, *meta[1], *(tensor.clone() for tensor in before)]
        with _holding(slots, values), _in_modes(self.modes):
            loss = self.loss_fn(*given, *batch)
            after = tuple(slot.get() for slot in self.buffers)
        for slot, tensor in zip(self.buffers, after):
            self._check_constant(slot, tensor)
        return (loss, after) if self.buffers else loss

    def _check_constant(self, slot: Slot, tensor: Tensor) -> None:
        # torch.compile cannot read the question; a step was taken before it reads any.
        if not torch.compiler.is_compiling() and is_tracked(tensor):
            refuse(
                "loss_fn",
                expected="one that computes buffers without a graph",
                got=f"the buffer {slot.name.partition('.')[2]!r}, which requires a gradient",
                remedy="Detach it, or take steps by MetaOptimizer.step.",
            )


@contextmanager
def _holding(slots: Sequence[Slot], values: Sequence[Tensor]) -> Iterator[None]:
    held = [slot.get() for slot in slots]
    for slot, value in zip(slots, values):
        slot.set(value)
    try:
        yield
    finally:
        for slot, value in zip(slots, held):
            slot.set(value)


@contextmanager
def _in_modes(modes: Sequence[tuple[nn.Module, bool]]) -> Iterator[None]:
    now = [module.training for module, _ in modes]
    for module, mode in modes:
        module.training = mode
    try:
        yield
    finally:
        for (module, _), mode in zip(modes, now):
            module.training = mode


def unroll_groups(
    groups: Sequence[Group],
    rule: FlatRule,
    loss_fn: Callable[..., Any],
    batches: Tree,
    meta: Tree,
    options: Options,
) -> End:
    """The unroll from what ``groups`` hold; writes what they and the buffers become.

    All that can fail comes first: an unroll is done whole or not at all.
    """
    slots = [slot for group in groups for slot in group.slots]
    modules = list({id(group.module): group.module for group in groups}.values())
    loss = ModuleLoss(loss_fn, slots, meta, modules)
    params = [slot.get() for slot in slots]
    trees = Trees(
        params,
        [group.state for group in groups],
        tuple(slot.get() for slot in loss.buffers),
        (meta, [slot.get() for slot in loss.learned]),
        batches,
    )
    end = run(loss, rule, trees, options)
    values = [
        value if value.requires_grad else value.detach().requires_grad_(param.requires_grad)
        for value, param in zip(end.params, params)
    ]
    for slot, value in zip([*slots, *loss.buffers], [*values, *end.buffers]):
        slot.set(value)
    for group, state in zip(groups, end.state):
        group.state = state
    return end._replace(params=values)


def by_module(groups: Sequence[Group], values: Sequence[Tensor]) -> list[dict[str, Tensor]]:
    """Values of all parameters, by name, for each module."""
    found: dict[int, dict[str, Tensor]] = {}
    rest = iter(values)
    for group in groups:
        names = found.setdefault(id(group.module), {})
        names.update((slot.name, next(rest)) for slot in group.slots)
    return list(found.values())


def moments(start: Moment, trajectory: Sequence[Tensor]) -> list[Moment]:
    """All parameters before each step: the start, and all but the last of a trajectory."""
    steps = [each.unbind()[:-1] for each in trajectory]
    later = [
        [held._replace(value=value) for held, value in zip(start, values)] for values in zip(*steps)
    ]
    return [start, *later]
