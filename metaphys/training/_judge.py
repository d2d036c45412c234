"""Judging on units: adapt to each, then read its accuracy; and the sweep that tunes a rival."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import metaphys
from metaphys.data import Dataset, Split
from metaphys.optim import Rule
from metaphys.training._adaptation import LOSSES, Loss, adapt
from metaphys.training._config import Config
from metaphys.training._draws import Params, draw_samples
from metaphys.training._fleet import Apply, Fleet, Scores
from metaphys.training._problem import Problem
from metaphys.training._tuned import Grid


@dataclass(frozen=True)
class Recipe:
    """How to adapt to a unit.

    Attributes:
        name: for a person.
        rule: of the steps.
        loss: what the steps minimise.
        scores: of the mismatch of the twins that gradients go through; ``None`` for nominal twins.
        samples: what is measured, inputs (n, features) and targets (n,), on every unit; ``None``
            for training samples of each unit's own.
    """

    name: str
    rule: Rule
    loss: Loss
    scores: Scores | None = None
    samples: tuple[Tensor, Tensor] | None = None


@dataclass(frozen=True)
class Verdict:
    """What a method reached on some units.

    Attributes:
        accuracy: (U,), in [0, 1].
        device_calls: what adapting one unit cost, counted by the devices.
        params: the adapted parameters, (U, …) each.
        seconds: that adapting took, a unit's share of what was done for all at once.
        course: where it was asked for, the mean accuracy after 0, 1, … steps.
    """

    accuracy: Tensor
    device_calls: int
    params: Params
    seconds: float = 0.0
    course: tuple[float, ...] = ()


@torch.no_grad()
def judge(
    problem: Problem,
    units: Sequence[int],
    start: Params,
    test: Split,
    *,
    recipe: Recipe | None = None,
    own: bool = False,
    draw: int = 0,
    looked: Split | None = None,
) -> Verdict:
    """Adapt ``start`` to every unit by ``recipe`` and measure the accuracy on ``test``.

    The labelled samples come from the training set. Every method sees the same samples and the
    same noise on a unit.

    Args:
        problem: the problem.
        units: seeds of the units.
        start: parameters to start from; with ``own`` one for each unit, in a leading dimension.
        test: what to judge on.
        recipe: how to adapt; ``None`` does not.
        own: see ``start``.
        draw: another draw of samples for another number.
        looked: what the course of adapting is measured on; ``None`` for no course.
    """
    count, course = len(units), ()
    if not own:
        start = {name: value.expand(count, *value.shape) for name, value in start.items()}
    key = (problem.config.seed, "judge", draw)
    calls, saved, began, path = 0, 0.0, time.perf_counter(), [start]
    if recipe is not None:
        fleet = problem.fleet(units, *key, "adapt")
        samples = support(problem, units, recipe, *key)
        path += adapted_on(fleet, start, samples, recipe, problem.config)
        calls, saved = fleet.calls, fleet.saved
    # What an archive answered counts as if it had been measured now.
    seconds = (time.perf_counter() - began + saved) / count

    def reached(params: Params, part: Split) -> Tensor:
        return measured(problem.fleet(units, *key, "test"), params, part)

    if looked is not None:
        course = tuple(float(reached(each, looked).mean()) for each in path)
    return Verdict(reached(path[-1], test), calls, path[-1], seconds, course)


CHUNK = 1000
"""Test samples that all units measure at a time."""


@torch.no_grad()
def measured(fleet: Fleet, params: Params, part: Split) -> Tensor:
    """The accuracy (U,) of parameters, (U, …) each, on the units of a fleet."""
    right = torch.zeros(fleet.count, dtype=torch.float64)
    for inputs, targets in zip(part.inputs.split(CHUNK), part.targets.split(CHUNK)):
        logits = fleet.each(lambda apply, own, x: apply(own, x), (0, None), params, inputs)
        right += (logits.argmax(-1) == targets).sum(-1)
    return right / len(part)


def support(
    problem: Problem, units: Sequence[int], recipe: Recipe, *key: object
) -> tuple[Tensor, Tensor]:
    """The labelled samples of each unit; they depend on the unit, not on which others there are."""
    if recipe.samples is not None:
        inputs, targets = recipe.samples
        return inputs.expand(len(units), *inputs.shape), targets.expand(len(units), -1)
    drawn = [
        draw_samples(problem.data.train, 1, problem.config.labels, *key, unit) for unit in units
    ]
    return torch.cat([x for x, _ in drawn]), torch.cat([y for _, y in drawn])


def adapted_on(
    fleet: Fleet,
    start: Params,
    samples: tuple[Tensor, Tensor],
    recipe: Recipe,
    config: Config,
) -> list[Params]:
    """After each step parameters (U, …) adapted to the units of a fleet, from given ones alike."""
    given: Any = {"steps": config.adapt_steps, "loss": recipe.loss, "scores": recipe.scores}

    def one(apply: Apply, params: Params, x: Tensor, y: Tensor) -> Params:
        return adapt(apply, params, x, y, rule=recipe.rule, trajectory=True, **given)

    path: Params = fleet.each(one, (0, 0, 0), start, *samples)
    steps = range(config.adapt_steps)
    return [{name: value[:, step] for name, value in path.items()} for step in steps]


def fine_tuning(optimizer: str, loss: str, lr: float) -> Recipe:
    """Plain gradient steps, as anybody would take them."""
    make: Callable[..., metaphys.Rule] = {"SGD": metaphys.sgd, "Adam": metaphys.adam}[optimizer]
    rule = make(lr=lr)
    return Recipe(f"{optimizer}, {loss}, lr {lr:g}", rule, LOSSES[loss])


def sweep(
    problem: Problem, start: Params, units: Sequence[int], grid: Grid, draws: int = 2
) -> tuple[Recipe, list[dict[str, Any]]]:
    """The best of ``grid`` on validation units and validation images, and all of it."""
    tried: list[dict[str, Any]] = []
    for (optimizer, loss), rates in grid.items():
        for lr in rates:
            recipe = fine_tuning(optimizer, loss, lr)
            reached = [
                judge(
                    problem, units, start, problem.choosing, recipe=recipe, draw=draw
                ).accuracy.mean()
                for draw in range(draws)
            ]
            accuracy = float(torch.stack(reached).mean())
            tried.append({"optimizer": optimizer, "loss": loss, "lr": lr, "accuracy": accuracy})
    best = max(tried, key=lambda row: row["accuracy"])
    return fine_tuning(best["optimizer"], best["loss"], best["lr"]), tried


def linear_accuracy(data: Dataset) -> float:
    """Test accuracy of logistic regression on the same inputs: physics has to be worth it."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(max_iter=5000)
    model.fit(data.train.inputs.numpy(), data.train.targets.numpy())
    return float(model.score(data.test.inputs.numpy(), data.test.targets.numpy()))
