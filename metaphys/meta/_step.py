"""What a differentiable step computes, before anything is changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch

from metaphys._errors import check
from metaphys._tree import map_tensors
from metaphys.meta._group import Group
from metaphys.optim.rule import add_updates, update_leaves

Gradients = list[torch.Tensor | None]
GradCallback = Callable[[Gradients], "Gradients | None"]


class Stepped(NamedTuple):
    """A group after a step: its parameters' values and its state."""

    values: list[torch.Tensor]
    state: Any


def called_back(
    callback: GradCallback, grads: Gradients, params: Sequence[torch.Tensor]
) -> Gradients:
    """The gradients that ``callback`` returns or leaves, where they fit the parameters."""
    returned = callback(grads)
    grads = grads if returned is None else list(returned)
    shapes = [tuple(g.shape) if isinstance(g, torch.Tensor) else g for g in grads]
    wanted = [tuple(param.shape) for param in params]
    fits = len(shapes) == len(wanted) and all(
        shape is None or shape == want for shape, want in zip(shapes, wanted)
    )
    check(
        fits,
        "grad_callback",
        expected=f"a function that gives None or a gradient for each parameter's shape {wanted}",
        got=f"one that gives {shapes}",
    )
    return grads


def stepped(group: Group, grads: Iterator[torch.Tensor | None]) -> Stepped:
    """The group after a step with the next of ``grads``."""
    params = group.params()
    own = [next(grads) for _ in params]
    updates, state = update_leaves(group.core, own, group.state, params, group.hyper)
    return Stepped(add_updates(params, updates), state)  # type: ignore[arg-type]


def stepped_anew(group: Group, grads: Iterator[torch.Tensor | None]) -> Stepped:
    """:func:`stepped` with the group's past as a constant; hyper-parameters stay learned."""
    params = group.params()
    own = [next(grads) for _ in params]
    fixed = [param.detach() for param in params]
    state = map_tensors(torch.Tensor.detach, group.state)
    updates, state = update_leaves(group.core, own, state, fixed, group.hyper)
    values = add_updates(fixed, updates)
    for value, param in zip(values, params):
        if not value.requires_grad:  # type: ignore[union-attr]
            value.requires_grad_(param.requires_grad)  # type: ignore[union-attr]
    return Stepped(values, state)  # type: ignore[arg-type]
