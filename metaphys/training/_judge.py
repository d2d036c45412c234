"""Judging on units: adapt to each, then read its accuracy; and the sweep that tunes a rival."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import metaphys
from metaphys.data import Dataset, Split
from metaphys.training._adaptation import LOSSES, Loss, Rules, adapt
from metaphys.training._draws import Params, draw_samples
from metaphys.training._problem import Problem


@dataclass(frozen=True)
class Recipe:
    """How to adapt to a unit: the rule of each step and the loss.

    Attributes:
        name: for a person.
        rules: the rule of step 0, 1, …
        loss: what the steps minimise.
    """

    name: str
    rules: Rules
    loss: Loss


@dataclass(frozen=True)
class Verdict:
    """What a method reached on some units.

    Attributes:
        accuracy: (U,), in [0, 1].
        device_calls: what adapting one unit cost, counted by the devices.
        params: the adapted parameters, (U, …) each.
    """

    accuracy: Tensor
    device_calls: int
    params: Params


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
    """
    config, count = problem.config, len(units)
    if not own:
        start = {name: value.expand(count, *value.shape) for name, value in start.items()}
    key = (config.seed, "judge", draw)
    calls = 0
    if recipe is not None:
        samples = _support(problem, units, *key)
        with problem.on(problem.fleet(units, *key, "adapt")) as fleet:
            start = _adapted(problem, start, samples, recipe)
        calls = fleet.calls // count
    with problem.on(problem.fleet(units, *key, "test")):
        logits = torch.vmap(problem.apply, randomness="different")(
            start, test.inputs.expand(count, *test.inputs.shape)
        )
    accuracy = (logits.argmax(-1) == test.targets).to(torch.float64).mean(-1)
    return Verdict(accuracy, calls, start)


def _support(problem: Problem, units: Sequence[int], *key: object) -> tuple[Tensor, Tensor]:
    """The labelled samples of each unit; they depend on the unit, not on which others there are."""
    drawn = [
        draw_samples(problem.data.train, 1, problem.config.labels, *key, unit) for unit in units
    ]
    return torch.cat([x for x, _ in drawn]), torch.cat([y for _, y in drawn])


def _adapted(
    problem: Problem, start: Params, samples: tuple[Tensor, Tensor], recipe: Recipe
) -> Params:
    def one(params: Params, x: Tensor, y: Tensor) -> Params:
        steps = problem.config.adapt_steps
        return adapt(problem.apply, params, x, y, rules=recipe.rules, steps=steps, loss=recipe.loss)

    return torch.vmap(one, randomness="different")(start, *samples)


Grid = Mapping[tuple[str, str], Sequence[float]]
"""Rates by optimizer and loss."""

GRID: Grid = {
    ("SGD", "cross entropy"): (0.5, 1, 2, 3, 5, 8, 12, 20, 30),
    ("SGD", "squared error"): (0.02, 0.05, 0.1, 0.2, 0.3, 0.5),
    ("Adam", "cross entropy"): (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5),
    ("Adam", "squared error"): (0.02, 0.05, 0.1, 0.2, 0.4),
}
"""The rates that plain fine-tuning is tuned over, by optimizer and loss."""


def fine_tuning(optimizer: str, loss: str, lr: float) -> Recipe:
    """Plain gradient steps, as anybody would take them."""
    make: Callable[..., metaphys.Rule] = {"SGD": metaphys.sgd, "Adam": metaphys.adam}[optimizer]
    rule = make(lr=lr)
    return Recipe(f"{optimizer}, {loss}, lr {lr:g}", lambda step: rule, LOSSES[loss])


def sweep(
    problem: Problem, start: Params, units: Sequence[int], grid: Grid = GRID, draws: int = 2
) -> tuple[Recipe, list[dict[str, Any]]]:
    """The best of ``grid`` on validation units and validation images, and all of it."""
    tried: list[dict[str, Any]] = []
    for (optimizer, loss), rates in grid.items():
        for lr in rates:
            recipe = fine_tuning(optimizer, loss, lr)
            reached = [
                judge(
                    problem, units, start, problem.data.validation, recipe=recipe, draw=draw
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
