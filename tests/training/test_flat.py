"""Full training: epochs over the data, steps that shrink on a plateau, an end where it is flat."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from metaphys._runs import RunDirectory, Silent
from metaphys.data import Dataset, Split
from metaphys.training import Config, build
from metaphys.training._epoch_picture import epochs as drawn
from metaphys.training._epochs import LEAST, Epochs
from metaphys.training._flat import FADE, Flat, UntilFlat, courses, ended, is_flat, until_flat
from metaphys.training._outer import BATCH, full_training
from metaphys.training._phases import Phases
from metaphys.training._problem import Problem
from metaphys.training.recalibration import RecalibrationConfig
from metaphys.training.recalibration import build as build_setting
from metaphys.training.recalibration._full import full_training as full_training_of


def made_up(train: int, validation: int) -> Dataset:
    def part(count: int) -> Split:
        return Split(torch.arange(count, dtype=torch.float32).unsqueeze(1), torch.arange(count) % 3)

    given: Any = {"linear_accuracy": None, "source": ""}
    return Dataset("x", 3, (1,), part(train), part(validation), part(2), **given)


def trained(
    seen: Sequence[Any], *, steps: int = 2, lr: float = 0.1, units: tuple[int, ...] = ()
) -> tuple[Flat, UntilFlat]:
    """Down a parabola to 3; ``seen`` is the accuracy after each epoch, for each unit."""
    reached = iter(seen)
    start = {"w": torch.zeros(*units, 2)}

    def gradient(params: dict[str, Tensor], index: int) -> tuple[Tensor, dict[str, Tensor]]:
        off = params["w"] - 3
        return off.square().mean(), {"w": 2 * off}

    training = until_flat(
        start,
        gradient,
        lambda params: torch.tensor(next(reached), dtype=torch.float64),
        Epochs(made_up(4, 2), 2, len(seen), steps),
        lr=lr,
        units=units,
    )
    state = training.begun
    for index in range(training.limit):
        if ended(state):
            break
        state = training.step(state, index)
    return state, training


def by_torch(rates: Sequence[float]) -> list[Tensor]:
    """The same parabola under torch's Adam, a step at each rate."""
    weight = torch.zeros(2, requires_grad=True)
    optimizer = torch.optim.Adam([weight])
    found = []
    for rate in rates:
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        (weight - 3).square().sum().backward()
        optimizer.step()
        found.append(weight.detach().clone())
    return found


def test_steps_are_adams_and_shrink_after_two_epochs_without_a_better_one() -> None:
    state, _ = trained([0.5, 0.6, 0.6, 0.5, 0.5, 0.7, 0.6])
    #        better   better       flat 2       ×0.3         better: as it is
    rates = [0.1] * 8 + [0.1 * FADE] * 6
    torch.testing.assert_close(state.learned["w"], by_torch(rates)[-1])
    assert float(state.rate) == pytest.approx(0.1 * FADE)


def test_five_epochs_without_a_better_one_are_the_end_and_the_best_is_taken() -> None:
    state, _ = trained([0.5, 0.9, 0.8, 0.9, 0.1, 0.2, 0.3, 1.0, 1.0])
    (course,) = courses(state)
    assert ended(state) and course == [0.5, 0.9, 0.8, 0.9, 0.1, 0.2, 0.3]  # what came after is not
    # Of the two epochs at 0.9 the later one, whose last step is the eighth.
    torch.testing.assert_close(state.best["w"], by_torch([0.1] * 8)[-1])
    assert float(state.score) == 0.9 and is_flat(course)


def test_at_the_limit_it_ends_before_it_is_flat() -> None:
    state, _ = trained([0.5, 0.6, 0.7])
    (course,) = courses(state)
    assert course == [0.5, 0.6, 0.7] and not is_flat(course) and not ended(state)
    torch.testing.assert_close(state.best["w"], state.learned["w"])
    # The mean loss of each epoch, by hand.
    path = [torch.zeros(2), *by_torch([0.1] * 6)]
    losses = torch.stack([(weight - 3).square().mean() for weight in path[:6]])
    torch.testing.assert_close(state.losses.double(), losses.reshape(3, 2).mean(1).double())


def test_units_side_by_side_are_each_what_it_is_alone() -> None:
    first = [0.5, 0.4, 0.4, 0.4, 0.4, 0.4, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9]
    second = [0.1, 0.2, 0.2, 0.3, 0.2, 0.4, 0.4, 0.4, 0.4, 0.1, 0.2, 0.6]
    both, _ = trained(list(zip(first, second)), units=(2,))
    for unit, seen in enumerate((first, second)):
        alone, _ = trained(seen)
        torch.testing.assert_close(both.best["w"][unit], alone.best["w"], rtol=0, atol=0)
        assert float(both.score[unit]) == float(alone.score)
        assert [courses(both)[unit]] == courses(alone)
    # What the first would have reached later is not its own any more.
    assert [len(course) for course in courses(both)] == [6, 11] and float(both.score[0]) == 0.5


def test_an_epoch_is_a_pass_in_an_order_of_its_own() -> None:
    epochs = Epochs(made_up(1050, 7), most=10, limit=3)
    passes = [
        torch.cat([epochs.samples(105 * n + index, "a test")[0] for index in range(epochs.steps)])
        for n in range(2)
    ]
    assert epochs.steps == 105 and len(epochs.looked_at) == 7
    for each in passes:
        assert each.flatten().sort().values.equal(torch.arange(1050.0))
    assert not passes[0].equal(passes[1])
    again, other = (epochs.samples(3, key)[0] for key in ("a test", "another"))
    assert passes[0][30:40].equal(again) and not again.equal(other)


def test_few_samples_are_passed_often_and_looked_at_where_there_are_no_others() -> None:
    epochs = Epochs(made_up(25, 0), most=10, limit=3)
    assert epochs.steps == LEAST and len(epochs.looked_at) == 25
    pair = torch.cat([epochs.samples(index, 0)[0] for index in (0, 1)]).flatten()
    assert len(pair.unique()) == 20  # two steps make a pass: five samples wait for another
    assert epochs.measured([0.5, 0.6]) == 2 * (LEAST * 10 + 25) and epochs.labels([0.5]) == 25
    short = Epochs(made_up(25, 0), most=10, limit=3, fixed=1)  # trains on ten, looks at all
    assert (short.measured([0.5]), short.labels([0.5])) == (10 + 25, 25)
    tiny = Epochs(made_up(4, 2), most=10, limit=3, fixed=1)
    assert (tiny.batch, tiny.steps, tiny.measured([0.5]), tiny.labels([0.5])) == (4, 1, 6, 6)


# The commands ----------------------------------------------------------------------------------


@pytest.fixture
def single_precision() -> None:
    torch.set_default_dtype(torch.float32)


FEW: dict[str, Any] = {"full_epochs": 3, "epoch_steps": 4}


def test_what_is_counted_is_what_a_unit_was_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, single_precision: None
) -> None:
    problem = build(Config(pool=2, layers=2, **FEW))
    fleets, make = [], Problem.fleet

    def kept(self: Problem, *given: Any) -> Any:
        fleets.append(make(self, *given))
        return fleets[-1]

    monkeypatch.setattr(Problem, "fleet", kept)
    training = full_training(problem, problem.initial, [20_000, 20_001])
    phases = Phases(RunDirectory(tmp_path / "run", {}), Silent())
    end = phases.flat("full training", training)
    calls = [2 * training.epochs.measured(course) for course in courses(end)]
    assert calls == [2 * 3 * (4 * BATCH + len(problem.data.validation))] * 2
    assert sum(fleet.calls for fleet in fleets) == calls[0]
    curve = phases.curves["full training"]
    assert curve["step"] == [4, 8, 12] and len(curve["loss"]) == 3
    assert curve["accuracy"] == courses(end) and all(len(each) == 3 for each in courses(end))
    # A finished one is read and not trained again.
    fleets.clear()
    again = Phases(RunDirectory(tmp_path / "run", {}, resume=True), Silent())
    assert again.flat("full training", training).score.equal(end.score)
    assert not fleets and again.curves == phases.curves


def test_a_unit_is_trained_the_same_alone_and_in_a_fleet() -> None:
    problem = build(Config(pool=2, **{**FEW, "full_epochs": 1}))
    found = []
    for units in ([20_000, 20_001], [20_001]):
        training = full_training(problem, problem.initial, units)
        state = training.begun
        for index in range(training.limit):
            state = training.step(state, index)
        found.append(state)
    for name, value in found[0].best.items():
        torch.testing.assert_close(value[1], found[1].best[name][0], rtol=1e-6, atol=1e-9)
        assert not value[0].allclose(value[1])  # each for itself


def test_training_on_a_unit_wins_back_what_it_cost(single_precision: None) -> None:
    """By the exact gradient, looked at through noise; test samples are never looked at."""
    setting = build_setting(RecalibrationConfig(noise=0.05, batch=50, full_epochs=8))
    unit, epochs = 20_000, 2
    training = full_training_of(setting, setting.initial(0), unit, lr=0.03)
    assert training.epochs.looked_at is setting.data.validation
    state = training.begun
    for index in range(epochs * training.epochs.steps):
        state = training.step(state, index)
    (course,) = courses(state)
    reached = setting.accuracy(state.best, setting.devices(unit), setting.data.validation)
    assert len(course) == epochs and max(course) == reached
    before = setting.accuracy(setting.initial(0), setting.devices(unit), setting.data.test)
    after = setting.accuracy(state.best, setting.devices(unit), setting.data.test)
    assert before < 0.5 and after > 0.85


@pytest.mark.parametrize("kind", [Config, RecalibrationConfig])
@pytest.mark.parametrize("given", [{"full_epochs": 0}, {"epoch_steps": 0}])
def test_epochs_that_mean_nothing_are_refused(kind: Any, given: dict[str, Any]) -> None:
    (name,) = given
    with pytest.raises(ValueError, match=f"`{name}`"):
        kind(**given)
    quick = dataclasses.replace(kind(), full_epochs=30, epoch_steps=None).quick()
    assert quick.full_epochs * quick.epoch_steps <= 10


@pytest.mark.parametrize("kind", [Config, RecalibrationConfig])
def test_a_quick_run_is_never_longer_than_what_was_asked_for(kind: Any) -> None:
    asked = dataclasses.replace(kind(), full_epochs=1, epoch_steps=1, twin_steps=1, units=1)
    assert asked.quick() == dataclasses.replace(
        asked.quick(), full_epochs=1, epoch_steps=1, twin_steps=1, units=1
    )
    assert asked.quick().quick() == asked.quick()


def test_the_picture_has_a_line_a_unit_and_a_dot_where_it_was_taken() -> None:
    found = [[0.5, 0.9, 0.9, 0.8], [0.7]]
    (axes,) = drawn(found, "full training").axes
    lines = [tuple(np.asarray(each).tolist() for each in line.get_data()) for line in axes.lines]
    assert lines == [
        ([1, 2, 3, 4], pytest.approx([50, 90, 90, 80])),
        ([3], pytest.approx([90])),
        ([1], pytest.approx([70])),
        ([1], pytest.approx([70])),
    ]
