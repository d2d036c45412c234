"""Step sizes that meta-learning begins with: as long as a start bears, for every parameter."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import metaphys
from metaphys._runs import Silent
from metaphys.training import (
    Config,
    RunDirectory,
    TrainConfig,
    _first_rates,
    _problem,
    adapt,
    build,
    cross_entropy,
    load_model,
    meta_train,
    train,
)
from metaphys.training._adaptation import LOSSES
from metaphys.training._draws import Params, draw_samples, draw_units
from metaphys.training._first_rates import BEARABLE, FACTORS, LONGEST, first_rates, floats
from metaphys.training._loop import begin
from metaphys.training._meta import tabled
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

    def hopeless(problem: Any, learned: Any, apply: Any, x: Any, y: Any) -> Any:
        moved = torch.stack([rates.exp().sum() for rates in learned["rates"].values()]).sum()
        return torch.where(moved > 0, torch.tensor(float("nan")), torch.tensor(1.0)) + 0 * x.sum()

    monkeypatch.setattr(_first_rates, "adapted_loss", hopeless)
    sizes = chosen_rates(problem, problem.initial)
    shortest = LONGEST * FACTORS[-1] * FACTORS[-1]
    assert sizes == pytest.approx(dict.fromkeys(problem.initial, shortest))
    start = {name: value * float("nan") for name, value in problem.initial.items()}
    monkeypatch.undo()
    with pytest.raises(FloatingPointError, match="`loss` must be finite"):
        chosen_rates(problem, start)


def test_devices_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """In ngspice a try would take minutes: simulated units say enough."""
    config = dataclasses.replace(SMALL, system="circuit", noise=0.0)
    expected = chosen_rates(build(config), build(config).initial)

    def refused(*_: Any) -> Any:
        raise AssertionError("a unit in ngspice was made")

    monkeypatch.setattr(_problem, "in_ngspice", refused)
    problem = dataclasses.replace(
        build(config), config=dataclasses.replace(config, device="spice", learned_on="device")
    )
    assert chosen_rates(problem, problem.initial) == expected
    with pytest.raises(AssertionError, match="in ngspice was made"):
        problem.fleet([0], "test")


TINY = dataclasses.replace(
    SMALL,
    system="plate",
    learn=("start",),
    nominal_steps=1,
    population_steps=2,
    meta_steps=1,
    full_epochs=1,
    epoch_steps=1,
    classical_units=1,
    twin_steps=1,
)


def test_meta_learning_begins_with_what_was_chosen(tmp_path: Path) -> None:
    """Where step sizes are not learned they are still the chosen ones at the end."""
    run = RunDirectory(tmp_path / "run", TINY.to_json())
    meta_train(TINY, run, Silent(), grid={("SGD", "cross entropy"): (0.1,)})
    _, problem, learned = load_model(run.path / "model.safetensors")
    sizes = stored(run.path / "checkpoints" / "first-step-sizes.safetensors", problem)
    assert len(set(sizes.values())) > 1
    for name, rates in learned["rates"].items():
        torch.testing.assert_close(rates.exp(), torch.full_like(rates, sizes[name]))


def stored(checkpoint: Path, problem: Problem) -> dict[str, float]:
    """The sizes that a phase left, whatever stands around them."""
    found = load_file(checkpoint)
    names = {n: next(key for key in found if key.endswith(f"/{n}")) for n in problem.initial}
    return {name: float(found[key]) for name, key in names.items()}


@pytest.mark.parametrize("stopped", [False, True])
def test_a_trained_network_leaves_what_was_chosen(
    tmp_path: Path, stopped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the choice was stopped between two parameters and resumed."""
    config = TrainConfig(system="plate", layers=1, batch=4).quick()
    run = RunDirectory(tmp_path / "run", config.to_json())
    if stopped:
        asked = []

        def interrupted(*given: Any) -> Any:
            asked.append(given)
            if len(asked) == 8:
                raise KeyboardInterrupt
            return tabled(*given)

        monkeypatch.setattr(_first_rates, "tabled", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(config, run, Silent())
        monkeypatch.undo()
        assert not (run.path / "model.safetensors").exists()
        run = RunDirectory(tmp_path / "run", config.to_json(), resume=True)
    train(config, run, Silent())
    other, problem, learned = load_model(run.path / "model.safetensors")
    assert other == other.quick()  # as short as the training was
    sizes = chosen_rates(problem, learned["start"])
    assert len(set(sizes.values())) > 1
    file = "step-sizes-for-other-units.safetensors"
    assert stored(run.path / "checkpoints" / file, problem) == sizes
    for name, rates in learned["rates"].items():
        torch.testing.assert_close(rates.exp(), torch.full_like(rates, sizes[name]))
