"""Meta-learning: what is learned, one outer step of it, and how a unit is adapted with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

import metaphys
from metaphys.meta.adjoint import Adjoint, Checkpoint, Full, Mixed, OneStep, Truncated
from metaphys.training._adaptation import LOSSES, adapt, cross_entropy
from metaphys.training._config import Config
from metaphys.training._draws import Params, draw_samples, draw_units, generator
from metaphys.training._fleet import Apply
from metaphys.training._loop import Loop, begin, clipped, descend, value_and_grad
from metaphys.training._problem import Problem
from metaphys.training._tuned import TUNED, within_hardware

HEAD = "1."
"""How the parameters of the digital layer behind the logits begin."""


def learned_rule(rates: Params) -> metaphys.Rule:
    """Gradient descent whose step sizes are learned: exp(rates), by step, parameter and entry."""
    tables = {name: metaphys.schedule.tabulated(rate.exp()) for name, rate in rates.items()}
    return metaphys.sgd(lr=tables)


def adjoint_of(config: Config) -> Adjoint:
    """How the outer gradient goes through the inner steps."""
    chosen: dict[str, Adjoint] = {
        "full": Full(),
        "checkpoint": Checkpoint(),
        "mixed": Mixed(),
        "truncated": Truncated(max(1, config.adapt_steps // 2)),
        "one-step": OneStep(),
    }
    return chosen[config.adjoint]


def begin_meta(problem: Problem, start: Params, steps: int, sizes: Mapping[str, float]) -> Loop:
    """Meta-learning begins at ``start``, every step of a parameter with the same size.

    Args:
        problem: what is learned on.
        start: the controls.
        steps: of the outer loop.
        sizes: by parameter.
    """
    config = problem.config
    learned: dict[str, Any] = {"start": start, "rates": tabled(sizes, start, config.adapt_steps)}
    if "twin" in config.learn:
        learned["twin"] = problem.twins.scores()
    if "samples" in config.learn:
        rows = measured_rows(problem)
        learned["samples"] = {"inputs": problem.data.train.inputs[rows].clone()}
    return begin(learned, steps)


def tabled(sizes: Mapping[str, float], start: Params, steps: int) -> Params:
    """Logarithms of step sizes, by step, parameter and entry, from one size for each parameter."""
    return {
        name: value.new_full((steps, *value.shape), sizes[name]).log()
        for name, value in start.items()
    }


def adapted_loss(problem: Problem, learned: dict[str, Any], apply: Apply, *data: Tensor) -> Tensor:
    """A unit's loss on its queries, after it was adapted on the labelled samples in front."""
    config, labels = problem.config, problem.config.labels
    (x, queries), (y, targets) = ((part[:labels], part[labels:]) for part in data)
    adapted = adapt(
        apply,
        learned["start"],
        x,
        y,
        rule=learned_rule(learned["rates"]),
        steps=config.adapt_steps,
        loss=LOSSES[TUNED[config.system].inner_loss],
        scores=learned.get("twin"),
        adjoint=adjoint_of(config),
    )
    return cross_entropy(apply(adapted, queries), targets)


def measured_rows(problem: Problem) -> Tensor:
    """Training samples, the classes in turn, that learning what to measure begins at."""
    targets = problem.data.train.targets
    order = torch.randperm(len(targets), generator=generator(problem.config.seed, "measured"))
    # Each sample's place within its own class: those in front come first, one of every class.
    own = torch.nn.functional.one_hot(targets[order], problem.data.classes).cumsum(0)
    place = own.gather(1, targets[order].unsqueeze(1)).squeeze(1)
    ranked = (place * problem.data.classes + targets[order]).argsort()
    return order[ranked[: problem.config.labels]]


def outer_rates(config: Config, learned: dict[str, Any]) -> dict[str, dict[str, float]]:
    """The outer step size of everything; 0 for what is held as it is."""

    def rate(kind: str, name: str) -> float:
        if kind == "start":
            chosen = "correction" if name.startswith(HEAD) else "start"
            return config.meta_lr if {chosen} & {*config.learn} else 0.0
        if kind == "samples":
            return config.meta_lr
        return config.rate_lr if kind == "twin" or "rates" in config.learn else 0.0

    return {kind: {name: rate(kind, name) for name in each} for kind, each in learned.items()}


def meta_step(problem: Problem, steps: int) -> Callable[[Loop, int], Loop]:
    """One outer step: adapt on every unit of a meta-batch, judge on its queries, descend.

    The gradient goes through every inner step, as the configuration's adjoint has it.
    """
    config = problem.config
    count, rows = config.meta_units, measured_rows(problem)

    def judged(apply: Apply, learned: Any, x: Tensor, y: Tensor) -> Tensor:
        return adapted_loss(problem, learned, apply, x, y)

    def shown(learned: dict[str, Any], x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """What is measured of each unit: where it is learned, the same of all."""
        if "samples" not in learned:
            return x, y
        inputs = learned["samples"]["inputs"].expand(count, -1, -1)
        targets = problem.data.train.targets[rows].expand(count, -1)
        query = slice(config.labels, None)
        return torch.cat([inputs, x[:, query]], 1), torch.cat([targets, y[:, query]], 1)

    def step(loop: Loop, index: int) -> Loop:
        key = (config.seed, "meta", index)
        samples = draw_samples(problem.data.train, count, config.labels + config.queries, *key)
        fleet = problem.fleet(draw_units(count, *key), *key)

        def mean(learned: dict[str, Any]) -> Tensor:
            return fleet.each(judged, (None, 0, 0), learned, *shown(learned, *samples)).mean()

        loss, grads = value_and_grad(mean, loop.learned)
        lr = outer_rates(config, loop.learned)
        loop = descend(loop, index, steps, loss, clipped(grads, 1.0), lr)
        return loop._replace(learned=_kept(loop.learned))

    return step


def _kept(learned: dict[str, Any]) -> dict[str, Any]:
    """What can be set and measured: within the hardware's range."""
    kept = {**learned, "start": within_hardware(learned["start"])}
    if "samples" in learned:
        kept["samples"] = {"inputs": learned["samples"]["inputs"].clamp(0, 1)}
    return kept
