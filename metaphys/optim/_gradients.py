"""The gradients that a form takes itself, from a loss: what a good loss is, and its derivative."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from metaphys._errors import check, refuse


def gradients(
    loss: torch.Tensor, params: Sequence[torch.Tensor | None], *, create_graph: bool
) -> list[torch.Tensor | None]:
    """The loss's gradients, one for each of ``params``; ``None`` for what has none.

    The loss's own graph is kept either way: it goes with the loss, which may be used again.

    Args:
        loss: what :func:`check_loss` accepts.
        params: the parameters; those that are ``None``, frozen or not in the loss have none.
        create_graph: whether the gradients can be differentiated in their turn.

    Raises:
        ValueError: if none of them has a gradient.
    """
    wanted = [param for param in params if param is not None and param.requires_grad]
    found: Sequence[torch.Tensor | None] = ()
    if wanted:
        found = torch.autograd.grad(
            loss, wanted, create_graph=create_graph, retain_graph=True, allow_unused=True
        )
    check(
        any(grad is not None for grad in found),
        "loss",
        expected="computed from the parameters that are stepped, as they are now",
        got="a loss that depends on none of them",
        remedy="Compute it after the last step or recovery.",
    )
    rest = iter(found)
    return [next(rest) if param is not None and param.requires_grad else None for param in params]


def check_loss(loss: torch.Tensor) -> None:
    """Refuse anything but a finite scalar with a graph."""
    # Messages are made where they are needed: this runs at every step.
    if not isinstance(loss, torch.Tensor):
        got = type(loss).__name__
        refuse("loss", expected="a scalar tensor", got=got, error=TypeError)
    if loss.numel() != 1:
        refuse(
            "loss",
            expected="a scalar",
            got=f"shape {tuple(loss.shape)}",
            remedy="Reduce it, for example with .mean().",
        )
    if not loss.requires_grad:
        refuse(
            "loss",
            expected="a tensor with a graph",
            got="one that requires no gradient",
            remedy="Compute it from the parameters, outside torch.no_grad().",
        )
    # Only on the CPU: elsewhere reading the value would make every step wait for the device.
    if loss.is_cpu and not math.isfinite(value := loss.item()):
        refuse(
            "loss",
            expected="finite",
            got=value,
            remedy="The step was not taken; lower the step size or look at the last inputs.",
        )
