"""The parameters of past steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

from metaphys._errors import check
from metaphys.meta._group import Group


class Held(NamedTuple):
    """One parameter at one time: the module that holds it, its name, its value then."""

    module: nn.Module
    name: str
    value: torch.Tensor


Moment = list[Held]


def now(groups: Sequence[Group]) -> Moment:
    """All parameters as they are."""
    return [Held(group.module, slot.name, slot.get()) for group in groups for slot in group.slots]


def at_time(past: Sequence[Moment], groups: Sequence[Group], time: int) -> Moment:
    """All parameters as they were after ``time`` steps; negative times count back from now."""
    known = len(past) + 1
    check(
        -known <= time < known,
        "time",
        expected=f"in [{-known}, {known})",
        got=time,
        remedy="Past parameters are kept from the step on at which record=True was set.",
    )
    moments = [*past, now(groups)]
    return moments[time]
