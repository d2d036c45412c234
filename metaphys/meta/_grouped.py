"""What a meta-optimizer holds: groups of parameters, their state and their past."""

from __future__ import annotations

import copy
from abc import ABC
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

from metaphys._errors import check, refuse
from metaphys._tree import map_tensors
from metaphys.meta._group import Group, layout, with_group
from metaphys.meta._history import Moment, at_time
from metaphys.meta._tensors import cut, cut_modules, deep_copies, module_tensors
from metaphys.optim.rule import Rule


class Grouped(ABC):
    """The part of :class:`metaphys.MetaOptimizer` that takes no steps."""

    rule: Rule
    _groups: list[Group]
    _past: list[Moment]
    _span: int  # steps in the graph

    def add_param_group(
        self,
        module: nn.Module,
        params: Iterable[str | torch.Tensor] | None = None,
        **hyper: Any,
    ) -> None:
        """Step another module too, or some parameters with hyper-parameters of their own.

        Args:
            module: the module.
            params: parameters of it, or their names. Those that are stepped already leave their
                group, and take their state along. ``None``: all that require a gradient; none of
                them may be stepped yet.
            hyper: hyper-parameters of their own, such as ``lr=0.01``; the rest are the rule's, or
                those of the group that they leave. Each may be learned.

        Raises:
            TypeError: if ``module`` is no ``nn.Module``.
            ValueError: if there is no parameter that requires a gradient, or one that is stepped
                already (see ``params``), or a hyper-parameter is unknown or out of its range.
                Nothing is changed then.

        Example:
            >>> import torch, metaphys
            >>> net = torch.nn.Linear(1, 1)
            >>> optimizer = metaphys.MetaSGD(net, lr=0.1)
            >>> rate = torch.tensor(0.5, requires_grad=True)
            >>> optimizer.add_param_group(net, params=["bias"], lr=rate)
            >>> optimizer.step(net(torch.ones(1, 1)).sum())
            >>> torch.autograd.grad(net.bias.sum(), rate)
            (tensor(-1.),)
        """
        for name in hyper:
            check(
                name in self.rule.hyper, name, expected=f"one of {list(self.rule.hyper)}", got=name
            )
        self._groups = with_group(self._groups, self.rule, module, params, hyper)

    def parameters(
        self, time: int = -1, module: nn.Module | None = None
    ) -> dict[str, torch.Tensor]:
        """The parameters after a number of steps, by name, as ``torch.func.functional_call`` takes.

        Args:
            time: 0 for those before the first step, 1 after it, …; -1 for those now, -2 before the
                last step, …. Those of the past are kept with ``record=True``, until a state is
                loaded.
            module: one of :attr:`modules`; by default the first.

        Raises:
            ValueError: if that time is not recorded, or ``module`` is none of them.

        Example:
            >>> import torch, metaphys
            >>> net = torch.nn.Linear(1, 1)
            >>> start = net.weight
            >>> optimizer = metaphys.MetaSGD(net, lr=0.1, record=True)
            >>> optimizer.step(net(torch.ones(1, 1)).sum())
            >>> optimizer.parameters(time=0)["weight"] is start
            True
        """
        module = self.modules[0] if module is None else module
        check(
            any(module is each for each in self.modules),
            "module",
            expected="one of the modules that this optimizer steps",
            got=f"another {type(module).__name__}",
        )
        found = at_time(self._past, self._groups, time)
        return {each.name: each.value for each in found if each.module is module}

    @property
    def modules(self) -> list[nn.Module]:
        """The modules that it steps."""
        return list({id(group.module): group.module for group in self._groups}.values())

    def tensors(self) -> list[Any]:
        """Every tensor that it holds itself: state, hyper-parameters, past parameters; a tree."""
        past = [[each.value for each in moment] for moment in self._past]
        return [*((group.state, group.hyper) for group in self._groups), past]

    def stop_gradient(self) -> None:
        """Cut all history: of the modules' parameters and buffers, and of its own state.

        Example:
            >>> import torch, metaphys
            >>> net = torch.nn.Linear(1, 1)
            >>> optimizer = metaphys.MetaAdam(net, lr=0.1)
            >>> optimizer.step(net(torch.ones(1, 1)).sum())
            >>> optimizer.stop_gradient()
            >>> net.weight.is_leaf and net.weight.requires_grad
            True
        """
        cut_modules(self.modules)
        map_tensors(cut, self.state_groups)
        self._span = 0

    @property
    def state_groups(self) -> list[Any]:
        """The state of each group, as a list; TorchOpt's name."""
        return list(self.state_dict())

    def state_dict(self) -> tuple[Any, ...]:
        """The state of each group (of a module, unless it is split), by reference, with its graph.

        ``torch.save`` writes it, and ``torch.load`` reads it with ``weights_only=True``.
        """
        return tuple(group.state for group in self._groups)

    def load_state_dict(self, state_dict: Sequence[Any]) -> None:
        """Restore what :meth:`state_dict` returned.

        Raises:
            ValueError: if it belongs to another optimizer or module. Nothing is changed then.
        """
        states = tuple(state_dict)
        check(
            len(states) == len(self._groups),
            "state_dict",
            expected=f"of {len(self._groups)} states, one for each group",
            got=f"{len(states)}",
        )
        for group, state in zip(self._groups, states):
            expected, found = layout(group.state), layout(state)
            if found != expected:
                remedy = "It belongs to another optimizer or module."
                refuse("state_dict", expected=str(expected), got=found, remedy=remedy)
        for group, state in zip(self._groups, states):
            group.state = state
        self._past.clear()
        self._span = 0

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        tensors = [tensor for tensor, _ in module_tensors(self.modules)]
        map_tensors(tensors.append, self.tensors())
        deep_copies(tensors, memo)
        new: Any = object.__new__(type(self))
        memo[id(self)] = new
        new.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return new
