"""The parameter groups of a torch optimizer, as groups of a meta-optimizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from metaphys._errors import check, check_kind
from metaphys._slots import parameter_slots
from metaphys.meta._group import Group, by_name
from metaphys.optim._torch import torch_groups


def groups_of(
    optimizer: torch.optim.Optimizer, module: nn.Module, given: Mapping[str, Any]
) -> list[Group]:
    """The groups of ``optimizer``, with their state, on the parameters of ``module``.

    Args:
        optimizer: a torch optimizer that has a rule.
        module: holds all of its parameters.
        given: hyper-parameters in place of every group's own.
    """
    check_kind(
        module, nn.Module, "module", expected="the nn.Module that holds the optimizer's parameters"
    )
    slots = {id(slot.get()): slot for slot in parameter_slots(module)}
    groups = []
    for params, rule, state in torch_groups(optimizer, given):
        check(
            all(id(param) in slots for param in params),
            "module",
            expected="the one that holds the optimizer's parameters",
            got=f"a {type(module).__name__} without some of them",
            remedy="Several modules go into one torch.nn.ModuleList.",
        )
        own = [slots[id(param)] for param in params]
        hyper = by_name(rule.hyper, rule.core, own)
        groups.append(Group(module, own, rule, state, hyper))
    return groups
