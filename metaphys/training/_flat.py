"""Training on units until their validation accuracy is flat: what bounds all others from above."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

import metaphys
from metaphys.training._draws import Params
from metaphys.training._epochs import Epochs
from metaphys.training._tuned import within_hardware

FLAT = 5
"""Epochs in a row without a better accuracy that end it."""

PLATEAU, FADE = 2, 0.3
"""After so many of them the step size is lowered by this factor, and again after as many more."""


class Flat(NamedTuple):
    """The state of some units, (U,), that are trained side by side; or of one alone, ().

    Attributes:
        learned: the parameters, (*units, …) each.
        optimizer: Adam's state.
        best: what was learned when the accuracy was highest; of equal epochs in the last.
        score: that accuracy, below zero before the first epoch.
        waited: epochs since a better one.
        rate: the step size.
        losses: the mean loss of each epoch, (epochs,); NaN for those to come.
        accuracies: (epochs, *units); NaN for those to come, and once a unit has ended.
    """

    learned: Params
    optimizer: Any
    best: Params
    score: Tensor
    waited: Tensor
    rate: Tensor
    losses: Tensor
    accuracies: Tensor


class UntilFlat(NamedTuple):
    """A training: where it begins, a step of it, and what its epochs are."""

    begun: Flat
    step: Callable[[Flat, int], Flat]
    epochs: Epochs

    @property
    def limit(self) -> int:
        """Its steps, at most."""
        return self.epochs.limit * self.epochs.steps


def until_flat(
    start: Params,
    gradient: Callable[[Params, int], tuple[Tensor, Params]],
    look: Callable[[Params], Tensor],
    epochs: Epochs,
    *,
    lr: float,
    units: tuple[int, ...] = (),
) -> UntilFlat:
    """Adam; after every epoch a look at samples that are not trained on.

    The step size is lowered where the accuracy has not risen for :data:`PLATEAU` epochs. Where it
    has not for :data:`FLAT` a unit has ended, and what was best counts.

    Args:
        start: parameters to begin at, (*units, …) each.
        gradient: from parameters and the number of a step to the mean loss and the gradient.
        look: from parameters to the accuracy of each unit, (*units) float64.
        epochs: what they are.
        lr: the first step size.
        units: see :class:`Flat`.
    """
    begun = Flat(
        start,
        metaphys.adam().init(start),
        start,
        torch.full(units, -1.0, dtype=torch.float64),
        torch.zeros(units, dtype=torch.int64),
        torch.full(units, lr),
        torch.full((epochs.limit,), math.nan),
        torch.full((epochs.limit, *units), math.nan, dtype=torch.float64),
    )

    def step(state: Flat, index: int) -> Flat:
        epoch, place = divmod(index, epochs.steps)
        state = _descended(state, *gradient(state.learned, index), epoch, epochs.steps)
        return _judged(state, look(state.learned), epoch) if place + 1 == epochs.steps else state

    return UntilFlat(begun, step, epochs)


def _descended(state: Flat, loss: Tensor, grads: Params, epoch: int, steps: int) -> Flat:
    rates = {name: _along(state.rate, value) for name, value in state.learned.items()}
    updates, optimizer = metaphys.adam(lr=rates).update(grads, state.optimizer, state.learned)
    learned = metaphys.apply_updates(state.learned, updates, inplace=False)
    losses = state.losses.clone()
    losses[epoch] = losses[epoch].nan_to_num() + loss.detach() / steps
    return state._replace(learned=within_hardware(learned), optimizer=optimizer, losses=losses)


def _judged(state: Flat, reached: Tensor, epoch: int) -> Flat:
    going, better = state.waited < FLAT, reached > state.score
    waited = torch.where(going, torch.where(better, 0, state.waited + 1), state.waited)
    lowered = going & (waited > 0) & (waited % PLATEAU == 0)
    # Of equal epochs the last: it was trained for longer, in smaller steps.
    kept = going & (reached >= state.score)
    best = {n: torch.where(_along(kept, v), v, state.best[n]) for n, v in state.learned.items()}
    accuracies = state.accuracies.clone()
    accuracies[epoch] = torch.where(going, reached, math.nan)
    return state._replace(
        best=best,
        score=torch.where(kept, reached, state.score),
        waited=waited,
        rate=torch.where(lowered, FADE * state.rate, state.rate),
        accuracies=accuracies,
    )


def _along(values: Tensor, parameter: Tensor) -> Tensor:
    """A number for each unit, beside a parameter that has further dimensions."""
    return values.reshape(values.shape + (1,) * (parameter.ndim - values.ndim))


def ended(state: Flat) -> bool:
    """Whether all units have."""
    return bool((state.waited >= FLAT).all())


def courses(state: Flat) -> list[list[float]]:
    """Of each unit, the accuracy after each of its epochs."""
    found = state.accuracies.reshape(len(state.accuracies), -1).T.tolist()
    return [[value for value in unit if not math.isnan(value)] for unit in found]


def is_flat(course: Sequence[float]) -> bool:
    """Whether a unit ended because it was flat, and not at the limit.

    Example:
        >>> is_flat([0.5, 0.6, 0.6, 0.6, 0.5, 0.5, 0.6]), is_flat([0.5, 0.6, 0.7])
        (True, False)
    """
    return len(course) > FLAT and max(course[:-FLAT]) >= max(course[-FLAT:])
