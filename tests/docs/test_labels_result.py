"""Adapting by labels alone: images, the rule, its derivative, and what is stored of the rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import optree
import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from metaphys.nn import run_on
from metaphys.physics import OscillatorMismatch
from metaphys.training._draws import Params
from metaphys.training.recalibration import RecalibrationConfig, Setting, build
from tests.docs.scripts import result_script

linear = result_script("_linear")
chosen = result_script("_chosen")
labelled = result_script("_labelled")
table = result_script("recalibration_labels_table")
script = result_script("recalibration_labels")
Book = result_script("_book").Book
STEPS, UNITS, IMAGES = 3, 2, 6
GAIN = torch.tensor([0.1])


@pytest.fixture
def setting() -> Setting:
    return build(RecalibrationConfig(coupling_limit=4.0))


@pytest.fixture
def start(setting: Setting) -> Params:
    """Controls that are not small."""
    return {name: 3 * value for name, value in setting.initial(0).items()}


@pytest.fixture
def inputs(setting: Setting) -> Tensor:
    return setting.data.train.inputs


def learned_of(setting: Setting, start: Params) -> dict[str, Any]:
    """The rule with numbers that are not zero, and others for each step and control."""
    learned = labelled.begin(setting, start, STEPS)
    rates = learned["rates"] + torch.linspace(-0.2, 0.2, learned["rates"].shape[1])
    momentum, trust = torch.linspace(0.3, 0.5, STEPS), torch.linspace(0.6, 0.8, STEPS)
    return {**learned, "rates": rates, "momentum": momentum, "trust": trust}


def units_off(setting: Setting, offset: Tensor) -> Any:
    """Units with these offsets (U, N, N), and the gain of the population."""
    (array,) = setting.nominal
    mismatch = OscillatorMismatch(coupling=offset, gain=GAIN.expand(len(offset), 1))
    return array.with_mismatch(mismatch)  # pyright: ignore[reportAttributeAccessIssue]


def right_units(setting: Setting, count: int = UNITS) -> Any:
    size = setting.nominal[0].ports.drive
    return units_off(setting, torch.zeros(count, size, size))


def adapted(setting: Setting, learned: Any, units: Any, metric: Tensor) -> tuple[Params, int]:
    part = setting.data.train
    images, labels = part.inputs[:IMAGES], part.targets[:IMAGES]
    return labelled.adapt(setting, learned, metric, units, images, labels)


def metric_of(setting: Setting, start: Params, images: Tensor, inputs: Tensor) -> Tensor:
    return linear.metric(setting, start, images, inputs, GAIN)


def answers(setting: Setting, params: Params, units: Any, inputs: Tensor) -> Tensor:
    with run_on(setting.network, units):
        return functional_call(setting.network, params, (inputs.expand(*units.units, -1, -1),))


def test_flat_keeps_lengths_and_is_undone(start: Params) -> None:
    vector = linear.flat(start)
    assert vector.shape == (26 * 25 // 2 + 26,)
    again = linear.shaped(vector, 26)
    torch.testing.assert_close(linear.flat(again), vector)
    assert float(sum(v.square().sum() for v in again.values())) == pytest.approx(
        float(vector.square().sum()), rel=1e-5
    )


def test_first_derivatives_are_those_of_central_differences(
    setting: Setting, start: Params, inputs: Tensor
) -> None:
    by_controls, by_offsets = linear.derivatives(setting, start, inputs[:4], GAIN)
    source = torch.Generator().manual_seed(2)
    direction = torch.randn(by_controls.shape[-1], generator=source)
    along, h = linear.shaped(direction, 26), 1e-4

    def at(controls: float, offset: float) -> Tensor:
        params = labelled.spread({n: v + controls * along[n] for n, v in start.items()}, 1)
        units = units_off(setting, offset * along[linear.COUPLING].unsqueeze(0))
        return answers(setting, params, units, inputs[:4]).squeeze(0)

    for by, slope in (
        (by_controls @ direction, (at(h, 0) - at(-h, 0)) / (2 * h)),
        (
            by_offsets[..., :-26] @ direction[:-26],
            (at(0, h) - at(0, -h)) / (2 * h),
        ),
    ):
        torch.testing.assert_close(by, slope, rtol=1e-5, atol=1e-6)
        assert float(by.abs().mean()) > 0.1
    assert bool((by_offsets[..., -26:] == 0).all())  # no unit has a force of its own


def test_the_metric_makes_up_for_small_offsets_on_other_images(
    setting: Setting, start: Params, inputs: Tensor
) -> None:
    images, others = inputs[:40], inputs[100:400]
    source = torch.Generator().manual_seed(3)
    units = units_off(setting, 0.05 * torch.randn(UNITS, 26, 26, generator=source))
    wanted = answers(setting, labelled.spread(start, UNITS), right_units(setting), others)
    learned = labelled.begin(setting, start, 1)
    metric = metric_of(setting, start, images, inputs[400:600])
    labels = setting.data.train.targets[:40]
    params, calls = labelled.adapt(setting, learned, metric, units, images, labels)

    def off(params: Params) -> float:
        error = answers(setting, params, units, others) - wanted
        return float((error - error.mean(-1, keepdim=True)).square().mean())

    assert calls == 40
    assert off(params) < 0.15 * off(labelled.spread(start, UNITS))


def test_a_step_measures_every_label_once(setting: Setting, start: Params, inputs: Tensor) -> None:
    source = torch.Generator().manual_seed(3)
    units = units_off(setting, torch.randn(UNITS, 26, 26, generator=source))
    metric = metric_of(setting, start, inputs[:IMAGES], inputs[:50])
    params, calls = adapted(setting, learned_of(setting, start), units, metric)
    assert calls == STEPS * IMAGES
    moved = params[linear.COUPLING] - start[linear.COUPLING]
    assert moved.shape[0] == UNITS and bool((moved[0] != moved[1]).any())


def test_the_rule_is_heavy_ball_descent_along_the_metric(setting: Setting, start: Params) -> None:
    learned, source = learned_of(setting, start), torch.Generator().manual_seed(4)
    size, rates = len(linear.flat(start)), learned["rates"].exp()
    metric = torch.randn(size, size, generator=source)
    rule, velocity = labelled.rule(learned, metric), torch.zeros(size)
    state = rule.init(start)
    for step in range(STEPS):
        grads = {n: torch.randn(v.shape, generator=source) for n, v in start.items()}
        updates, state = rule.update(grads, state, start)
        velocity = learned["momentum"][step] * velocity + rates[step] * (
            metric @ linear.flat(grads)
        )
        torch.testing.assert_close(linear.flat(updates), -velocity)
        torch.testing.assert_close(updates[linear.COUPLING], updates[linear.COUPLING].mT)


def test_a_right_unit_is_drawn_to_its_label_as_far_as_it_is_trusted(
    setting: Setting, start: Params, inputs: Tensor
) -> None:
    learned = {**labelled.begin(setting, start, 1), "trust": torch.full((1,), 0.3)}
    images, labels = inputs[:IMAGES], setting.data.train.targets[:IMAGES]
    params, _ = adapted(setting, learned, right_units(setting), torch.eye(len(linear.flat(start))))
    right = right_units(setting, 1)
    answer = answers(setting, labelled.spread(start, 1), right, images)[0]
    wanted = 0.3 * (torch.nn.functional.one_hot(labels, 10) - answer.softmax(-1))
    by_controls, _ = linear.derivatives(setting, start, images, GAIN)
    moved = linear.flat(params) - linear.flat(start)
    expected = torch.einsum("nc,ncp->p", wanted, by_controls)
    torch.testing.assert_close(moved, expected.expand(UNITS, -1), rtol=1e-6, atol=1e-9)
    assert float(expected.abs().max()) > 0.01


def test_where_the_twin_is_right_and_no_label_trusted_nothing_moves(
    setting: Setting, start: Params, inputs: Tensor
) -> None:
    learned = {**learned_of(setting, start), "trust": torch.zeros(STEPS)}
    metric = metric_of(setting, start, inputs[:IMAGES], inputs[:50])
    params, _ = adapted(setting, learned, right_units(setting), metric)
    for name, value in start.items():
        expected = value.expand(UNITS, *value.shape)
        # The gain of the units is 0.1 in single precision.
        torch.testing.assert_close(params[name], expected, rtol=0, atol=1e-8)


def test_the_derivative_is_that_of_central_differences(
    setting: Setting, start: Params, inputs: Tensor
) -> None:
    learned, units = learned_of(setting, start), right_units(setting)
    metric = metric_of(setting, start, inputs[:IMAGES], inputs[:50])
    # Where unit and twin agree the physics-aware gradient is exact but for what only the twin has.
    names = [name for name in learned if name != "gain"]
    source = torch.Generator().manual_seed(1)
    random = {
        n: optree.tree_map(lambda v: torch.randn(v.shape, generator=source), learned[n])
        for n in names
    }

    def after(amount: float | Tensor) -> Tensor:
        there = {
            n: optree.tree_map(lambda v, d: v + 0.01 * amount * d, learned[n], random[n])
            for n in names
        }
        given = {**learned, **there}
        params, _ = adapted(setting, given, units, metric)
        return sum(value.sin().sum() for value in params.values())  # type: ignore[return-value]

    amount = torch.zeros((), requires_grad=True)
    (slope,) = torch.autograd.grad(after(amount), amount)
    differences = [(after(h) - after(-h)).detach() / (2 * h) for h in (1e-3, 2e-3)]
    assert float(slope.abs()) > 1e-3
    torch.testing.assert_close(slope, (4 * differences[0] - differences[1]) / 3, rtol=1e-5, atol=0)


def test_images_are_chosen_that_leave_least_unknown(
    setting: Setting, start: Params, inputs: Tensor
) -> None:
    pool, asked = inputs[:30], inputs[40:55]
    source = torch.Generator().manual_seed(0)
    best = chosen.choose(setting, start, pool, asked, 8, source).tolist()
    assert len(set(best)) == 8 and max(best) < 30

    def left(rows: list[int]) -> float:
        return chosen.unknown(setting, start, pool[rows], asked)

    # So few answers are taken as they are: the first images are those of trying every one.
    assert best[0] == min(range(30), key=lambda row: left([row]))
    rest = [row for row in range(30) if row != best[0]]
    assert best[1] == min(rest, key=lambda row: left([best[0], row]))
    drawn = [left(torch.randperm(30, generator=source)[:8].tolist()) for _ in range(20)]
    assert left(best) < min(drawn)


def test_chosen_images_are_training_images_with_their_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(script.SILICO, "steps", 1)
    monkeypatch.setattr(script, "POOL", 70)
    experiment = script.Experiment(None, tmp_path)
    images, labels = experiment.chosen(0)
    part = experiment.setting.data.train
    same = (images.unsqueeze(1) == part.inputs).all(-1)
    assert len(images) == 50 and bool(same.any(-1).all())
    for of_image, label in zip(same, labels):
        assert int(label) in part.targets[of_image].tolist()
    again, _ = script.Experiment(None, tmp_path).chosen(0)  # of the file
    assert bool((again == images).all())


def row(method: str, unit: int, reached: float, seed: int = 0, calls: int = 0) -> dict[str, Any]:
    return {"method": method, "seed": seed, "unit": unit, "calls": calls, "accuracy": reached}


ROWS = [
    row("meta-learned", 1, 0.93, calls=500),
    row("meta-learned", 2, 0.92, calls=500),
    row("meta-learned", 1, 0.94, seed=1, calls=500),
    row("population start", 2, 0.905),
    row("population start", 1, 0.91),
    row("population start", 1, 0.92, seed=1),
]


def test_the_result_is_in_points_over_the_population_start(tmp_path: Path) -> None:
    book = Book(tmp_path / "runs" / "rows.jsonl")
    page = tmp_path / "recalibration-labels-only.md"
    page.write_text("head\n<!-- table -->\nold\n<!-- end -->\nfoot\n")
    book.rows = ROWS[:3]
    table.store(book, tmp_path)
    assert not page.with_suffix(".json").exists()  # the rival is missing
    book.rows = ROWS
    table.store(book, tmp_path)
    found = json.loads(page.with_suffix(".json").read_text())
    assert found["values"] == [2.0, 1.5, 2.0] and found["seeds"] == [0, 1]
    assert found["mean"] == pytest.approx(5.5 / 3, abs=1e-3)
    assert found["accuracy"]["mean"] == pytest.approx(0.93) and found["device_calls"] == 500
    assert found["baselines"]["full training"]["mean"] > 0.9
    text = page.read_text()
    assert text.startswith("head\n") and text.endswith("foot\n") and "old" not in text
    assert "| **meta-learned** | 93.00" in text and "| linear classifier |" in text
    assert "NOT reached" in text  # the interval of so few holds zero
