"""Everything that is learned before a new unit is seen, and the units trained in full."""

from __future__ import annotations

from typing import Any, NamedTuple

from metaphys.training import _outer
from metaphys.training._config import Config
from metaphys.training._draws import TEST_UNITS, VALIDATION_UNITS, Params
from metaphys.training._first_rates import first_rates, floats
from metaphys.training._flat import courses
from metaphys.training._judge import judge
from metaphys.training._loop import begin, selecting
from metaphys.training._meta import begin_meta, meta_step
from metaphys.training._model import learned_recipe
from metaphys.training._phases import Phases
from metaphys.training._problem import Problem
from metaphys.training._tuned import TUNED

VALIDATION = range(VALIDATION_UNITS, VALIDATION_UNITS + 10)

ANOTHER = VALIDATION_UNITS + 100
"""The unit whose controls are moved to others."""

OF_A_SEED = 100
"""Seeds of held-out units that a run's seed has to itself, at least."""


class Full(NamedTuple):
    """Units that were trained on until they were flat.

    Attributes:
        params: the controls of every unit, (U, …) each.
        labels: labelled samples that each saw.
        calls: device calls that each took, of what was looked at too.
    """

    params: Params
    labels: list[int]
    calls: list[int]


class Starts(NamedTuple):
    """What the comparison starts from.

    Attributes:
        rivals: starts by name: in silico, sharpness-aware, population start.
        another: controls that were made for another unit.
        meta: what was meta-learned.
        full: every held-out unit, trained in full.
    """

    rivals: dict[str, Params]
    another: Params
    meta: dict[str, Any]
    full: Full


def held_out_units(config: Config) -> list[int]:
    """The held-out units of a seed; other seeds have others, however many units there are.

    Example:
        >>> [held_out_units(Config(seed=seed, units=2)) for seed in (0, 1)]
        [[20000, 20001], [20100, 20101]]
    """
    first = TEST_UNITS + max(OF_A_SEED, config.units) * config.seed
    return list(range(first, first + config.units))


def learn(problem: Problem, phases: Phases) -> Starts:
    """Every start that is compared."""
    tuned, learning = TUNED[problem.config.system], problem.learning
    nominal = _in_silico(learning, phases, "in silico", tuned.nominal)
    sharp = _in_silico(learning, phases, "sharpness-aware", tuned.sharp, tuned.radius)
    rival = _population_start(learning, phases)
    meta = _meta_learned(learning, phases)
    full = _in_full(problem, phases, "full training", nominal, held_out_units(problem.config))
    another = _in_full(learning, phases, "another unit", nominal, [ANOTHER])
    return Starts(
        {"in silico": nominal, "sharpness-aware": sharp, "population start": rival},
        {name: value[0] for name, value in another.params.items()},
        meta,
        full,
    )


def _in_silico(
    problem: Problem, phases: Phases, name: str, lr: float, radius: float = 0.0
) -> Params:
    steps = problem.config.nominal_steps
    step = _outer.nominal_step(problem, steps, lr, radius)
    return phases.trained(name, problem.initial, step, steps)


def _population_start(problem: Problem, phases: Phases) -> Params:
    config = problem.config
    steps = config.population_steps + config.meta_steps
    step = _outer.population_step(problem, "rival", steps, TUNED[config.system].rival)
    chosen = selecting(step, lambda learned: _score(problem, learned), steps)
    return phases.outer("population start", begin(problem.initial, steps), chosen, steps)


def _meta_learned(problem: Problem, phases: Phases) -> dict[str, Any]:
    config, steps = problem.config, problem.config.population_steps
    step = _outer.population_step(problem, "warm", steps, TUNED[config.system].warm)
    warm = phases.trained("warm start", problem.initial, step, steps)
    sizes = phases.timed("first step sizes", *first_rates(problem, warm))
    steps = config.meta_steps
    chosen = selecting(
        meta_step(problem, steps),
        lambda learned: _score(problem, learned["start"], learned),
        steps,
    )
    begun = begin_meta(problem, warm, steps, floats(sizes))
    return phases.outer("meta-learning", begun, chosen, steps)


def _in_full(problem: Problem, phases: Phases, name: str, start: Params, units: list[int]) -> Full:
    training = _outer.full_training(problem, start, units)
    end, epochs = phases.flat(name, training), training.epochs
    calls = [problem.config.layers * epochs.measured(course) for course in courses(end)]
    return Full(end.best, [epochs.labels(course) for course in courses(end)], calls)


def _score(problem: Problem, start: Params, learned: dict[str, Any] | None = None) -> float:
    """Validation accuracy of a start: as it is, or adapted with what was learned."""
    recipe = None if learned is None else learned_recipe(problem, learned)
    verdict = judge(problem, VALIDATION, start, problem.choosing, recipe=recipe)
    return float(verdict.accuracy.mean())
