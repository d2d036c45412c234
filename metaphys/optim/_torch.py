"""Optimizers of ``torch.optim`` as rules: what each option and each buffer is called here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from metaphys._errors import check, check_kind, refuse
from metaphys._tree import flatten, unflatten
from metaphys.optim.adadelta import adadelta
from metaphys.optim.adagrad import adagrad
from metaphys.optim.adam import adam, adamw
from metaphys.optim.adamax import adamax
from metaphys.optim.muon import muon
from metaphys.optim.nadam import nadam
from metaphys.optim.optimizer import Optimizer
from metaphys.optim.radam import radam
from metaphys.optim.rmsprop import rmsprop
from metaphys.optim.rule import Rule
from metaphys.optim.sgd import sgd

ADAM = {"mu": "exp_avg", "nu": "exp_avg_sq", "max_nu": "max_exp_avg_sq"}

KINDS: dict[type[torch.optim.Optimizer], tuple[Callable[..., Rule], dict[str, str]]] = {
    torch.optim.SGD: (sgd, {"trace": "momentum_buffer"}),
    torch.optim.Adam: (adam, ADAM),
    torch.optim.AdamW: (adamw, ADAM),
    torch.optim.RMSprop: (
        rmsprop,
        {"nu": "square_avg", "mu": "grad_avg", "trace": "momentum_buffer"},
    ),
    torch.optim.Adagrad: (adagrad, {"total": "sum"}),
    torch.optim.Adadelta: (adadelta, {"nu": "square_avg", "delta": "acc_delta"}),
    torch.optim.Adamax: (adamax, {"mu": "exp_avg", "norm": "exp_inf"}),
    torch.optim.NAdam: (nadam, {**ADAM, "product": "mu_product"}),
    torch.optim.RAdam: (radam, ADAM),
}
"""The rule of each class, and torch's name for each field of its state."""

if hasattr(torch.optim, "Muon"):
    KINDS[torch.optim.Muon] = (muon, {"mu": "momentum_buffer"})

HOW = ("foreach", "fused", "capturable", "differentiable")
"""Options that say how a step is computed, not what it is."""


class TorchGroup(NamedTuple):
    """One parameter group of a torch optimizer.

    Attributes:
        params: its parameters.
        rule: its options, as a rule.
        state: its buffers, copied, as that rule's state.
    """

    params: list[torch.Tensor]
    rule: Rule
    state: Any


def torch_groups(optimizer: torch.optim.Optimizer, given: Mapping[str, Any]) -> list[TorchGroup]:
    """The groups of ``optimizer`` as rules, with the hyper-parameters ``given`` in place of theirs.

    Raises:
        TypeError: if it is no torch optimizer.
        ValueError: if there is no rule for its class, or none with one of its options.
    """
    check_kind(optimizer, torch.optim.Optimizer, "optimizer", expected="a torch.optim.Optimizer")
    if not isinstance(optimizer, Optimizer) and type(optimizer) not in KINDS:
        refuse(
            "optimizer",
            expected=f"one of {sorted(kind.__name__ for kind in KINDS)}, which have a rule",
            got=f"a {type(optimizer).__name__}",
            remedy="Write its rule, or take one of metaphys.optim.",
        )
    if isinstance(optimizer, Optimizer):
        return [_ours(optimizer, index, given) for index in range(len(optimizer.param_groups))]
    return [_converted(optimizer, group, given) for group in optimizer.param_groups]


def _ours(optimizer: Optimizer, index: int, given: Mapping[str, Any]) -> TorchGroup:
    group = optimizer.param_groups[index]
    rule = _checked(Rule(optimizer.rule.core, optimizer.hyper_of(group)), given)
    start = rule.core.init(group["params"], rule.hyper)
    (kept, spec), (first, _) = flatten(optimizer.state_of(index, start)), flatten(start)
    copies = [_copied(a, b) if isinstance(a, torch.Tensor) else a for a, b in zip(kept, first)]
    state = rule.core.holding(unflatten(spec, copies), rule.hyper)
    return TorchGroup(list(group["params"]), rule, state)


def _converted(
    optimizer: torch.optim.Optimizer, group: Mapping[str, Any], given: Mapping[str, Any]
) -> TorchGroup:
    params = list(group["params"])
    make, names = KINDS[type(optimizer)]
    if group.get("decoupled_weight_decay") and make is adam:
        make = adamw
    rule = _checked(make(**_options(optimizer, group, make)), given)
    states = [optimizer.state.get(param, {}) for param in params]
    return TorchGroup(params, rule, _state(rule, params, states, names))


def _options(
    optimizer: torch.optim.Optimizer, group: Mapping[str, Any], make: Callable[..., Rule]
) -> dict[str, Any]:
    """The options of a group that the rule takes; those that no rule takes are refused."""
    known = make(lr=1e-3).hyper.keys()
    options = {}
    for name in optimizer.defaults:
        if name in known:
            options[name] = group[name]
        elif name not in HOW and not (make in (adam, adamw) and name == "decoupled_weight_decay"):
            check(
                not group[name],
                name,
                expected=f"an option that {make.__name__} has too",
                got=f"{group[name]!r} in the {type(optimizer).__name__}",
            )
    return options


def _checked(rule: Rule, given: Mapping[str, Any]) -> Rule:
    for name in given:
        check(name in rule.hyper, name, expected=f"one of {list(rule.hyper)}", got=name)
    return Rule(rule.core, {**rule.hyper, **given})


def _state(
    rule: Rule,
    params: Sequence[torch.Tensor],
    states: Sequence[Mapping[str, Any]],
    names: Mapping[str, str],
) -> Any:
    """The rule's state with copies of the buffers that there are, and the start of the others."""
    start = rule.core.init(params, rule.hyper)
    count = torch.stack([_steps(each) for each in states])
    fields = {
        ours: tuple(
            first if each.get(theirs) is None else _copied(each[theirs], first)
            for first, each in zip(getattr(start, ours), states)
        )
        for ours, theirs in names.items()
        if ours in start._fields and getattr(start, ours)
    }
    return start._replace(count=count, **fields)


def _steps(state: Mapping[str, Any]) -> torch.Tensor:
    """The steps taken; an optimizer that does not count them has a buffer after the first."""
    steps = state.get("step", 0 if state.get("momentum_buffer") is None else 1)
    return torch.as_tensor(steps).detach().to("cpu", torch.int64).reshape(())


def _copied(buffer: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    new = buffer.detach().to(start, copy=True).reshape(start.shape)
    return new.requires_grad_(start.requires_grad)
