"""Step sizes that meta-learning begins with: as long as a start bears, for every parameter."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

import metaphys
from metaphys.training import Config, adapt, build, cross_entropy
from metaphys.training._adaptation import LOSSES
from metaphys.training._draws import Params, draw_samples, draw_units
from metaphys.training._first_rates import BEARABLE, FACTORS, LONGEST, first_rates, floats
from metaphys.training._loop import begin
from metaphys.training._outer import population_step
from metaphys.training._problem import Problem
from metaphys.training._tuned import TUNED

SMALL = Config(
    units=1, labels=8, queries=20, adapt_steps=3, meta_units=2, population_steps=20, judged=20
)
SYSTEMS: dict[str, dict[str, Any]] = {
    "oscillators": {"system": "oscillators"},
    "plate": {"system": "plate", "layers": 2, "learn": ("start", "rates", "correction")},
    "circuit": {"system": "circuit", "learn": ("start", "rates", "correction")},
    "shg": {"system": "shg", "pool": 2, "learn": ("start", "rates", "correction")},
}


@pytest.fixture(autouse=True)
def float32(laboratory: None):
    """The experiment runs in the user's default dtype, which is float32."""
    torch.set_default_dtype(torch.float32)


def warm(problem: Problem) -> Params:
    step = population_step(problem, "warm", 20, TUNED[problem.config.system].warm)
    loop = begin(problem.initial, 20)
    for index in range(20):
        loop = step(loop, index)
    return loop.learned


def chosen_rates(problem: Problem, start: Params) -> dict[str, float]:
    sizes, step, count = first_rates(problem, start)
    for index in range(count):
        sizes = step(sizes, index)
    return floats(sizes)


def loss(problem: Problem, start: Params, sizes: dict[str, float]) -> float:
    """After plain gradient descent with a size for each parameter, written down once more."""
    config, key = problem.config, (problem.config.seed, "first rates")
    units = draw_units(config.meta_units, *key)
    x, y = draw_samples(problem.data.train, len(units), config.labels + config.queries, *key)

    def one(apply: Any, x: Any, y: Any) -> Any:
        adapted = adapt(
            apply,
            start,
            x[: config.labels],
            y[: config.labels],
            rule=metaphys.sgd(lr=sizes),
            steps=config.adapt_steps,
            loss=LOSSES[TUNED[config.system].inner_loss],
        )
        return cross_entropy(apply(adapted, x[config.labels :]), y[config.labels :])

    with torch.no_grad():
        return float(problem.fleet(units, *key).each(one, (0, 0), x, y).mean())


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_parameter_gets_the_longest_step_that_does_no_harm(system: str) -> None:
    problem = build(dataclasses.replace(SMALL, **SYSTEMS[system]))
    start = warm(problem)
    none = dict.fromkeys(start, 0.0)
    bearable = BEARABLE * loss(problem, start, none)
    sizes, step, count = first_rates(problem, start)
    assert count == len(start) + 1
    for index, name in enumerate(start):
        sizes = step(sizes, index)
        size = float(sizes[name])
        if size < LONGEST:
            assert loss(problem, start, {**none, name: 3 * size}) > bearable * 0.999
        if size > LONGEST * FACTORS[-1]:
            assert loss(problem, start, {**none, name: size}) <= bearable * 1.001
    alone = {name: float(size) for name, size in sizes.items()}
    together = chosen_rates(problem, start)
    (factor,) = {round(together[name] / alone[name], 9) for name in start}
    assert loss(problem, start, together) <= bearable * 1.001
    if factor < 1:
        longer = {name: 3 * size for name, size in together.items()}
        assert loss(problem, start, longer) > bearable * 0.999


def test_a_head_behind_the_physics_takes_shorter_steps_than_the_physics() -> None:
    """Of crystals by a factor of ten and more: why one size for all does not do."""
    problem = build(dataclasses.replace(SMALL, **SYSTEMS["shg"]))
    sizes = chosen_rates(problem, warm(problem))
    controls = max(size for name, size in sizes.items() if ".controls." in name)
    assert sizes["1.weight"] <= controls / 8


def test_a_start_that_bears_nothing_gets_the_shortest_steps(monkeypatch: Any) -> None:
    """And what is not finite is not bearable."""
    problem = build(SMALL)
    module = "metaphys.training._first_rates.adapted_loss"

    def hopeless(problem: Any, learned: Any, apply: Any, x: Any, y: Any) -> Any:
        moved = torch.stack([rates.exp().sum() for rates in learned["rates"].values()]).sum()
        return torch.where(moved > 0, torch.tensor(float("nan")), torch.tensor(1.0)) + 0 * x.sum()

    monkeypatch.setattr(module, hopeless)
    sizes = chosen_rates(problem, problem.initial)
    shortest = LONGEST * FACTORS[-1] * FACTORS[-1]
    assert sizes == pytest.approx(dict.fromkeys(problem.initial, shortest))


def test_devices_are_not_asked() -> None:
    """In ngspice a try would take minutes: simulated units say enough."""
    config = dataclasses.replace(SMALL, system="circuit", noise=0.0)
    expected = chosen_rates(build(config), build(config).initial)
    problem = dataclasses.replace(
        build(config), config=dataclasses.replace(config, device="spice", learned_on="device")
    )
    assert chosen_rates(problem, problem.initial) == expected
