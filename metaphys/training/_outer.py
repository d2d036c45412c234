"""The outer loops of the rivals: training in silico, over a population, and on units."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from metaphys.training._adaptation import cross_entropy
from metaphys.training._draws import Params, draw_samples, draw_units
from metaphys.training._epochs import Epochs
from metaphys.training._flat import UntilFlat, until_flat
from metaphys.training._fleet import Apply
from metaphys.training._judge import measured
from metaphys.training._loop import Loop, descend, norm, value_and_grad
from metaphys.training._problem import Problem
from metaphys.training._tuned import TUNED, within_hardware

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

        loss, grads = value_and_grad(loss_of, loop.learned)
        if radius:
            far = radius / (norm(grads) + 1e-12)
            worst = {name: value + far * grads[name] for name, value in loop.learned.items()}
            _, grads = value_and_grad(loss_of, worst)
        return _descended(loop, index, steps, loss, grads, lr)

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
        fleet = problem.fleet(draw_units(count, *key), phase, index)
        loss, grads = value_and_grad(
            lambda params: fleet.each(_loss, (None, 0, 0), params, inputs, targets).mean(),
            loop.learned,
        )
        return _descended(loop, index, steps, loss, grads, lr)

    return step


def full_training(problem: Problem, start: Params, units: list[int]) -> UntilFlat:
    """Every unit for itself, from one start; parameters have a leading dimension for units.

    What is looked at after an epoch is measured on the units as well.
    """
    config = problem.config
    epochs = Epochs(problem.data, BATCH, config.full_epochs, config.epoch_steps)
    own = {n: value.expand(len(units), *value.shape).clone() for n, value in start.items()}
    key = (config.seed, "full")

    def gradient(params: Params, index: int) -> tuple[Tensor, Params]:
        inputs, targets = epochs.samples(index, *key)
        fleet = problem.fleet(units, *key, index)
        loss, grads = value_and_grad(
            lambda params: fleet.each(_loss, (0, None, None), params, inputs, targets).sum(),
            params,
        )
        return loss / len(units), grads

    def look(params: Params) -> Tensor:
        return measured(problem.fleet(units, *key, "look"), params, epochs.looked_at)

    lr = TUNED[config.system].full
    return until_flat(own, gradient, look, epochs, lr=lr, units=(len(units),))


def _loss(apply: Apply, params: Params, x: Tensor, y: Tensor) -> Tensor:
    return cross_entropy(apply(params, x), y)


def _descended(loop: Loop, index: int, steps: int, loss: Tensor, grads: Params, lr: float) -> Loop:
    loop = descend(loop, index, steps, loss, grads, lr)
    return loop._replace(learned=within_hardware(loop.learned))
