"""The outer loops: training a start in silico, over a population, on units, and meta-learning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import optree
import torch
from torch import Tensor

import metaphys
from metaphys.training._adaptation import adapt, cross_entropy, squared_error
from metaphys.training._draws import Params, draw_samples, draw_units
from metaphys.training._loop import Loop, begin, check_finite, descend
from metaphys.training._problem import Problem

BATCH = 32
"""Samples of a unit in one step of training without an inner loop."""


def nominal_step(
    problem: Problem, steps: int, lr: float, radius: float = 0.0
) -> Callable[[Loop, int], Loop]:
    """Training on the nominal model: no unit is called.

    With a ``radius`` ρ > 0 it is sharpness-aware (Foret et al., arXiv 2010.01412; of physical
    networks arXiv 2411.12352): the gradient is that at p + ρ g / |g|, the worst point near by.
    """
    config = problem.config

    def step(loop: Loop, index: int) -> Loop:
        inputs, targets = draw_samples(
            problem.data.train, 1, 2 * BATCH, config.seed, "nominal", index
        )

        def loss_of(params: Params) -> Tensor:
            return cross_entropy(problem.apply(params, inputs[0]), targets[0])

        loss, grads = _value_and_grad(loss_of, loop.learned)
        if radius:
            far = radius / (_norm(grads) + 1e-12)
            worst = {name: value + far * grads[name] for name, value in loop.learned.items()}
            _, grads = _value_and_grad(loss_of, worst)
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


def _clipped(grads: dict[str, Params], limit: float) -> dict[str, Params]:
    """``grads`` scaled to a norm of at most ``limit``: one bad unit cannot undo the start."""
    factor = (limit / (_norm(grads) + 1e-12)).clamp(max=1.0)
    return {kind: {n: factor * g for n, g in each.items()} for kind, each in grads.items()}


def _norm(grads: Any) -> Tensor:
    return torch.stack([g.square().sum() for g in optree.tree_leaves(grads)]).sum().sqrt()
