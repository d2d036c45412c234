"""The meta form: a step of an optimizer as a differentiable operation on a module."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from metaphys._errors import check, refuse
from metaphys.meta._slots import Slot, parameter_slots
from metaphys.optim.rule import Core, PerLeaf, Rule, add_updates, update_leaves


class MetaOptimizer:
    """Steps a module's parameters so that the step itself can be differentiated.

    :meth:`step` takes the gradient of a loss with its graph, and replaces the module's parameters
    by new tensors that depend on the old ones, on the loss, and on everything in it. An outer loss
    computed with the module then has a gradient for all of these.

    Args:
        module: the module whose parameters that require a gradient are stepped. Frozen parameters
            stay as they are, and weights that are tied stay tied.
        rule: what :func:`metaphys.sgd` and its like return. A hyper-parameter with one value for
            each parameter is a dict by parameter name.

    Raises:
        TypeError: if ``module`` is no ``nn.Module``, or ``rule`` no rule.
        ValueError: if the module has no parameter that requires a gradient.

    Example:
        >>> import torch, metaphys
        >>> net = torch.nn.Linear(1, 1, bias=False)
        >>> _ = torch.nn.init.ones_(net.weight)
        >>> x = torch.tensor([[2.0]], requires_grad=True)
        >>> optimizer = metaphys.MetaOptimizer(net, metaphys.sgd(lr=1.0))
        >>> optimizer.step((net(x**2)).sum())
        >>> net(x**2).sum().backward()
        >>> x.grad
        tensor([[-28.]])
    """

    def __init__(self, module: nn.Module, rule: Rule) -> None:
        check(
            isinstance(rule, Rule),
            "rule",
            expected="a rule such as metaphys.sgd(lr=0.1)",
            got=type(rule).__name__,
            error=TypeError,
        )
        self.rule = rule
        self._groups: list[_Group] = []
        self.add_param_group(module)

    def add_param_group(self, module: nn.Module, **hyper: Any) -> None:
        """Step the parameters of another module too, with a state of their own.

        Args:
            module: the module.
            hyper: hyper-parameters of its own, such as ``lr=0.01``; the rest are the rule's.

        Raises:
            TypeError: if ``module`` is no ``nn.Module``.
            ValueError: if it has no parameter that requires a gradient or one that is stepped
                already, or a hyper-parameter is unknown or out of its range.
        """
        check(
            isinstance(module, nn.Module),
            "module",
            expected="an nn.Module",
            got=type(module).__name__,
            error=TypeError,
        )
        for name in hyper:
            check(
                name in self.rule.hyper, name, expected=f"one of {list(self.rule.hyper)}", got=name
            )
        group = _Group.of(module, Rule(self.rule.core, {**self.rule.hyper, **hyper}))
        stepped = {id(slot.get()) for each in self._groups for slot in each.slots}
        shared = [slot.name for slot in group.slots if id(slot.get()) in stepped]
        check(
            not shared,
            "module",
            expected="a module with parameters that this optimizer does not step yet",
            got=f"one that shares {shared} with an earlier module",
        )
        self._groups.append(group)

    @torch.enable_grad()
    def step(self, loss: torch.Tensor) -> None:
        """Replace every parameter by its successor under the rule.

        Args:
            loss: a finite scalar with a graph to at least one of the parameters. Parameters
                that it does not depend on keep their value and their state. (Finiteness is
                checked on the CPU only.)

        Raises:
            ValueError: if the loss is not a scalar, is not finite, or has no graph. The module
                and the optimizer are unchanged then.
        """
        _check_loss(loss)
        params = [[slot.get() for slot in group.slots] for group in self._groups]
        grads = _gradients(loss, [p for each in params for p in each])
        check(
            any(grad is not None for grad in grads),
            "loss",
            expected="computed from the module's parameters",
            got="a loss that depends on none of them",
            remedy="Compute it with this module, after the last step or recovery.",
        )
        # All that can fail comes first: a step is taken whole or not at all.
        results = []
        start = 0
        for group, values in zip(self._groups, params):
            own = grads[start : start + len(values)]
            start += len(values)
            updates, state = update_leaves(group.core, own, group.state, values, group.hyper)
            results.append((group, add_updates(values, updates), state))
        for group, values, state in results:
            group.state = state
            for slot, value in zip(group.slots, values):
                slot.set(value)

    @property
    def modules(self) -> list[nn.Module]:
        """The modules that it steps."""
        return [group.module for group in self._groups]

    def tensors(self) -> list[Any]:
        """Every tensor that it holds itself: state and hyper-parameters, as a tree."""
        return [(group.state, dict(group.hyper)) for group in self._groups]

    def state_dict(self) -> tuple[Any, ...]:
        """The optimizer state of each module, by reference (with its graph)."""
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
            expected=f"of {len(self._groups)} states, one for each module",
            got=f"{len(states)}",
        )
        for group, state in zip(self._groups, states):
            expected, found = _layout(group.state), _layout(state)
            check(
                found == expected,
                "state_dict",
                expected=expected,
                got=found,
                remedy="It belongs to another optimizer or module.",
            )
        for group, state in zip(self._groups, states):
            group.state = state


def _layout(state: Any) -> str:
    """What kind of state this is, and of tensors of which shapes."""
    kind = type(state).__name__
    if not hasattr(state, "_asdict"):
        return f"a {kind}"
    shapes = {
        name: [tuple(each.shape) for each in (value if isinstance(value, tuple) else (value,))]
        for name, value in state._asdict().items()
    }
    return f"{kind} of shapes {shapes}"


@dataclass(eq=False)
class _Group:
    """One module: the slots of its parameters, the rule's core, its state, its hyper-parameters."""

    module: nn.Module
    slots: list[Slot]
    core: Core
    state: Any
    hyper: Mapping[str, Any]

    @classmethod
    def of(cls, module: nn.Module, rule: Rule) -> _Group:
        slots = [slot for slot in parameter_slots(module) if slot.get().requires_grad]
        if not slots:
            refuse(
                "module",
                expected="a module with a parameter that requires a gradient",
                got=f"{type(module).__name__} without one",
                remedy="Register its parameters, or set requires_grad on those to be stepped.",
            )
        names = [slot.name for slot in slots]
        hyper = {
            name: _by_name(value, names, name) if name in rule.core.per_leaf else value
            for name, value in rule.hyper.items()
        }
        state = rule.core.init([slot.get() for slot in slots], hyper)
        return cls(module, slots, rule.core, state, hyper)


def _by_name(value: Any, names: list[str], argument: str) -> Any:
    if not isinstance(value, (Mapping, Sequence)):
        return value
    if not isinstance(value, Mapping) or set(value) != set(names):
        refuse(
            argument,
            expected=f"one value, or a dict with the parameters' names {names}",
            got=list(value),
        )
    return PerLeaf(tuple(value[name] for name in names))


def _gradients(loss: torch.Tensor, params: list[torch.Tensor]) -> list[torch.Tensor | None]:
    """The loss's gradients with their graph; ``None`` for what is frozen or not in the loss."""
    wanted = [param for param in params if param.requires_grad]
    if not wanted:
        return [None] * len(params)
    found = iter(torch.autograd.grad(loss, wanted, create_graph=True, allow_unused=True))
    return [next(found) if param.requires_grad else None for param in params]


def _check_loss(loss: torch.Tensor) -> None:
    check(
        isinstance(loss, torch.Tensor),
        "loss",
        expected="a scalar tensor",
        got=type(loss).__name__,
        error=TypeError,
    )
    check(
        loss.numel() == 1,
        "loss",
        expected="a scalar",
        got=f"shape {tuple(loss.shape)}",
        remedy="Reduce it, for example with .mean().",
    )
    check(
        loss.requires_grad,
        "loss",
        expected="a tensor with a graph",
        got="one that requires no gradient",
        remedy="Compute it from the module's parameters, outside torch.no_grad().",
    )
    # Only on the CPU: elsewhere reading the value would make every step wait for the device.
    if loss.is_cpu:
        check(
            math.isfinite(loss.item()),
            "loss",
            expected="finite",
            got=loss.item(),
            remedy="The step was not taken; lower the step size or look at the last inputs.",
        )
