"""The outer loops: training a start in silico, over a population, on units, and meta-learning."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import optree
import torch
from torch import Tensor

import metaphys
from metaphys._errors import check
from metaphys.training._adaptation import adapt, cross_entropy, squared_error
from metaphys.training._problem import Params, Problem, draw_samples, draw_units

BATCH = 32
"""Samples of a unit in one step of training without an inner loop."""


class Loop(NamedTuple):
    """The state of an outer loop.

    Attributes:
        learned: what is learned.
        optimizer: the optimizer's state.
        losses: one for each step, NaN for those to come.
        best: what was learned when the score on validation units was highest.
        score: that score; below zero before the first.
    """

    learned: Any
    optimizer: Any
    losses: Tensor
    best: Any
    score: Tensor


def begin(learned: Any, steps: int) -> Loop:
    """The state before the first of ``steps`` steps."""
    losses = torch.full((max(steps, 1),), math.nan)
    return Loop(learned, metaphys.adam().init(learned), losses, learned, torch.tensor(-1.0))


def descend(loop: Loop, index: int, steps: int, loss: Tensor, grads: Any, lr: Any) -> Loop:
    """One Adam step with a cosine schedule; ``lr`` is a number or a tree like ``learned``."""
    fade = (1 + math.cos(math.pi * index / steps)) / 2
    rule = metaphys.adam(lr=optree.tree_map(lambda rate: fade * rate, lr))
    updates, state = rule.update(grads, loop.optimizer, loop.learned)
    learned = metaphys.apply_updates(loop.learned, updates, inplace=False)
    losses = loop.losses.clone()
    losses[index] = loss.detach()
    return loop._replace(learned=learned, optimizer=state, losses=losses)


def selecting(
    step: Callable[[Loop, int], Loop], score: Callable[[Any], float], steps: int, every: int = 50
) -> Callable[[Loop, int], Loop]:
    """``step``, and every so often a look at the validation units, to keep what was best there.

    Outer losses are noisy and not always falling; every method that may call units while it learns
    gets the same chance to stop early.
    """

    def selected(loop: Loop, index: int) -> Loop:
        loop = step(loop, index)
        if (index + 1) % every and index + 1 != steps:
            return loop
        reached = torch.tensor(score(loop.learned))
        return loop._replace(best=loop.learned, score=reached) if reached > loop.score else loop

    return selected


def nominal_step(problem: Problem, steps: int, lr: float) -> Callable[[Loop, int], Loop]:
    """Training on the nominal model: no unit is called."""
    config = problem.config

    def step(loop: Loop, index: int) -> Loop:
        inputs, targets = draw_samples(
            problem.data.train, 1, 2 * BATCH, config.seed, "nominal", index
        )
        loss, grads = _value_and_grad(
            lambda params: cross_entropy(problem.apply(params, inputs[0]), targets[0]),
            loop.learned,
        )
        return descend(loop, index, steps, loss, grads, lr)

    return step


def population_step(
    problem: Problem, phase: str, steps: int, lr: float
) -> Callable[[Loop, int], Loop]:
    """One start for all units: every step takes fresh units, with physics-aware gradients."""
    config = problem.config
    count = 2 * config.meta_units

    def step(loop: Loop, index: int) -> Loop:
        # The rival and the warm start see the same units and samples, as far as both go.
        key = (config.seed, "population", index)
        inputs, targets = draw_samples(problem.data.train, count, BATCH, *key)
        with problem.on(problem.fleet(draw_units(count, *key), phase, index)):
            loss, grads = _value_and_grad(
                lambda params: _per_unit_loss(
                    problem, (None, 0, 0), params, inputs, targets
                ).mean(),
                loop.learned,
            )
        return descend(loop, index, steps, loss, grads, lr)

    return step


def full_step(problem: Problem, units: list[int], steps: int) -> Callable[[Loop, int], Loop]:
    """Training every unit for itself; ``learned`` has a leading dimension for units."""
    config = problem.config

    def step(loop: Loop, index: int) -> Loop:
        key = (config.seed, "full", index)
        inputs, targets = draw_samples(problem.data.train, len(units), BATCH, *key)
        with problem.on(problem.fleet(units, *key)):
            loss, grads = _value_and_grad(
                lambda params: _per_unit_loss(problem, (0, 0, 0), params, inputs, targets).sum(),
                loop.learned,
            )
        return descend(loop, index, steps, loss / len(units), grads, 1e-2)

    return step


def _per_unit_loss(
    problem: Problem, dims: tuple[Any, ...], params: Params, inputs: Tensor, targets: Tensor
) -> Tensor:
    def one(own: Params, x: Tensor, y: Tensor) -> Tensor:
        return cross_entropy(problem.apply(own, x), y)

    return torch.vmap(one, in_dims=dims, randomness="different")(params, inputs, targets)


def learned_rules(rates: dict[str, Tensor]) -> Callable[[int], metaphys.Rule]:
    """Gradient descent whose step sizes are learned: exp(rates), by step, parameter and entry."""
    return lambda step: metaphys.sgd(lr={name: rate[step].exp() for name, rate in rates.items()})


def begin_meta(start: Params, adapt_steps: int, steps: int) -> Loop:
    """Meta-learning begins at ``start`` with step sizes of 1 everywhere."""
    rates = {name: value.new_zeros(adapt_steps, *value.shape) for name, value in start.items()}
    return begin({"start": start, "rates": rates}, steps)


def meta_step(problem: Problem, steps: int) -> Callable[[Loop, int], Loop]:
    """One outer step: adapt on every unit of a meta-batch, judge on its queries, descend.

    The units are one batch under ``vmap``; the gradient goes through every inner step.
    """
    config = problem.config
    count = config.meta_units

    def judged(learned: Any, x: Tensor, y: Tensor) -> Tensor:
        support, query = slice(None, config.labels), slice(config.labels, None)
        adapted = adapt(
            problem.apply,
            learned["start"],
            x[support],
            y[support],
            rules=learned_rules(learned["rates"]),
            steps=config.adapt_steps,
            loss=squared_error,
        )
        return cross_entropy(problem.apply(adapted, x[query]), y[query])

    def step(loop: Loop, index: int) -> Loop:
        key = (config.seed, "meta", index)
        samples = draw_samples(problem.data.train, count, config.labels + config.queries, *key)
        outer = torch.vmap(judged, in_dims=(None, 0, 0), randomness="different")
        with problem.on(problem.fleet(draw_units(count, *key), *key)):
            loss, grads = _value_and_grad(
                lambda learned: outer(learned, *samples).mean(), loop.learned
            )
        lr = {
            "start": dict.fromkeys(loop.learned["start"], config.meta_lr),
            "rates": dict.fromkeys(loop.learned["rates"], config.rate_lr),
        }
        return descend(loop, index, steps, loss, _clipped(grads, 1.0), lr)

    return step


def _value_and_grad(function: Callable[[Any], Tensor], at: Any) -> tuple[Tensor, Any]:
    grads, value = torch.func.grad_and_value(function)(at)
    check_finite(value)
    return value, grads


def check_finite(value: Tensor) -> None:
    """Refuse to go on from a loss that is not finite."""
    check(
        bool(torch.isfinite(value)),
        "loss",
        expected="finite in every outer step",
        got=float(value),
        remedy="Lower the outer step size; the run's last state is stored.",
        error=FloatingPointError,
    )


def _clipped(grads: dict[str, Params], limit: float) -> dict[str, Params]:
    """``grads`` scaled to a norm of at most ``limit``: one bad unit cannot undo the start."""
    parts = [g.square().sum() for each in grads.values() for g in each.values()]
    norm = torch.stack(parts).sum().sqrt()
    factor = (limit / (norm + 1e-12)).clamp(max=1.0)
    return {kind: {n: factor * g for n, g in each.items()} for kind, each in grads.items()}
