"""The inner loop: a few physics-aware steps on a few samples of one unit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from metaphys._errors import check_kind
from metaphys.meta import unroll
from metaphys.meta.adjoint import Adjoint, Full
from metaphys.optim import Rule
from metaphys.training._draws import Params
from metaphys.training._kinds import LOGIT_SCALE

Loss = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross entropy of logits (n, c) and class indices (n,).

    Example:
        >>> cross_entropy(torch.zeros(3, 2), torch.tensor([0, 1, 1]))
        tensor(0.6931)
    """
    # By hand: torch's own has no batching rule for class indices under vmap of grad.
    chosen = torch.log_softmax(logits, -1).gather(-1, targets.unsqueeze(-1))
    return -chosen.squeeze(-1).mean()


def squared_error(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean squared distance of the class angles from 1 rad at the class and 0 elsewhere, centred.

    Its gradient does not fade for samples that are already right, as that of the cross entropy
    does: with 50 labels and 5 steps it tells more about the unit.

    Example:
        >>> squared_error(torch.tensor([[5.0, -5.0]]), torch.tensor([0]))   # half a rad each: right
        tensor(0.)
    """
    classes = logits.shape[-1]
    wanted = torch.eye(classes, dtype=logits.dtype, device=logits.device)[targets] - 1 / classes
    return (logits - LOGIT_SCALE * wanted).square().sum(-1).mean() / classes


LOSSES: dict[str, Loss] = {"cross entropy": cross_entropy, "squared error": squared_error}


def adapt(
    apply: Callable[..., Tensor],
    params: Params,
    inputs: Tensor,
    targets: Tensor,
    *,
    rule: Rule,
    steps: int,
    loss: Loss,
    scores: Any = None,
    adjoint: Adjoint = Full(),  # noqa: B008 (frozen)
    trajectory: bool = False,
) -> Params:
    """Parameters after ``steps`` gradient steps on one batch; differentiable in everything.

    One step measures the batch once and makes one update.

    Args:
        apply: ``apply(params, inputs) -> logits``, on a unit under physics-aware training; with
            ``scores`` it gets them too.
        params: where to start.
        inputs: (n, features).
        targets: (n,) class indices.
        rule: of the steps; ``metaphys.sgd(lr=metaphys.schedule.tabulated(...))`` has a step size
            for each.
        steps: how many.
        loss: what to minimise.
        scores: of the mismatch of the twins that gradients go through, by layer.
        adjoint: how the steps are differentiated, as in :func:`metaphys.unroll`.
        trajectory: give the parameters after each step instead, (steps, …) each.

    Raises:
        TypeError: ``apply`` or ``loss`` cannot be called, or ``rule`` or ``adjoint`` is none.
        ValueError: ``steps`` < 1.

    Example:
        >>> import metaphys
        >>> params = {"w": torch.zeros(2, 2)}
        >>> adapted = adapt(lambda p, x: x @ p["w"], params, torch.eye(2), torch.tensor([0, 1]),
        ...                 rule=metaphys.sgd(lr=1.0), steps=1, loss=cross_entropy)
        >>> adapted["w"]
        tensor([[ 0.2500, -0.2500],
                [-0.2500,  0.2500]])
    """
    for name, function in {"apply": apply, "loss": loss}.items():
        check_kind(function, Callable, name, expected="a function")  # type: ignore[arg-type]

    # Not closed over: some adjoints differentiate only what they are given.
    def objective(current: Params, meta: Any) -> Tensor:
        inputs, targets, scores = meta
        given = (inputs,) if scores is None else (inputs, scores)
        return loss(apply(current, *given), targets)

    meta = (inputs, targets, scores)
    given: Any = {"steps": steps, "meta": meta, "adjoint": adjoint, "trajectory": trajectory}
    end = unroll(objective, rule, params, **given)
    return end.trajectory if trajectory else end.params
