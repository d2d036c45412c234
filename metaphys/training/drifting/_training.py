"""Training a network on the systems or devices of one unit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from metaphys.training._adaptation import cross_entropy
from metaphys.training._draws import Params
from metaphys.training._kinds import within
from metaphys.training._loop import Loop, begin, check_finite, descend
from metaphys.training.drifting._setting import Setting

FIRST_DAY, LATER = 1 / 3, 1 / 10
"""Step sizes of training on a twin, in those of training in silico."""


def stepped(
    setting: Setting,
    loop: Loop,
    physics: Sequence[Any],
    lr: float,
    *key: object,
    count: int | None = None,
    at: tuple[int, int] = (0, 1),
) -> Loop:
    """One step of Adam on some training samples, which depend on the key alone.

    Args:
        setting: network and data.
        loop: parameters and optimizer.
        physics: what the layers are.
        lr: the step size.
        key: of the samples.
        count: how many; those of the configuration by default.
        at: index and number of the steps of a cosine schedule; by default there is none.
    """
    inputs, targets = setting.batch(setting.config.batch if count is None else count, *key)
    params = {name: value.detach().requires_grad_() for name, value in loop.learned.items()}
    loss = cross_entropy(setting.logits(params, inputs, physics), targets)
    check_finite(loss.detach())
    found = torch.autograd.grad(loss, list(params.values()))
    loop = descend(loop, *at, loss, dict(zip(params, found)), lr)
    return loop._replace(learned={n: within(n, value) for n, value in loop.learned.items()})


def of_the_first_day(
    setting: Setting, start: Params, physics: Sequence[Any], number: int
) -> Params:
    """From training in silico: what training on the first day's twins makes of it."""
    steps = setting.config.first_steps
    loop = begin(start, steps)
    for index in range(steps):
        key = ("first day", number, index)
        loop = stepped(setting, loop, physics, FIRST_DAY * setting.config.lr, *key,
                       at=(index, steps))  # fmt: skip
    return loop.learned
