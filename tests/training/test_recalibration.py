"""Recalibration: what is measured, what follows from it, and what it is worth on a unit."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.autograd import gradcheck

from metaphys._runs import RunDirectory, Silent
from metaphys.physics import (
    Circuit,
    Device,
    MismatchUnknowns,
    OscillatorArray,
    OscillatorUnknowns,
    SimulatedDevice,
)
from metaphys.training._loop import begin
from metaphys.training.recalibration import (
    Measurement,
    Prior,
    RecalibrationConfig,
    Setting,
    adapted,
    always,
    build,
    cancelled,
    gauss_newton,
    identify,
    imagined,
    learn_prior,
    learn_start,
    recalibrate,
)
from metaphys.training.recalibration._controls import COUPLING, NEAR
from metaphys.training.recalibration._prior import inferred
from metaphys.training.recalibration._recalibrate import trained
from metaphys.training.recalibration._start import answering, training_step

UNIT = 20_000


@pytest.fixture(autouse=True)
def single_precision() -> Any:
    torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="module")
def setting() -> Setting:
    torch.set_default_dtype(torch.float32)
    return build(RecalibrationConfig(spread=1.0, start_steps=150, twin_steps=30, batch=50))


@pytest.fixture(scope="module")
def prior(setting: Setting) -> Any:
    """The truth, as far as readouts in single precision can show it."""
    unknowns = OscillatorUnknowns.of(setting.nominal[0], setting.populations[0].spread)  # pyright: ignore
    return Prior(dataclasses.replace(unknowns, gain_deviation=1e-3), 1e-5)


def measured(setting: Setting, unit: int = UNIT, most: int = 60) -> Measurement:
    return Measurement(setting.devices(unit)[0], low=-1.5, high=1.5, most=most, seed=unit)


def unit_of(setting: Setting, unit: int = UNIT) -> Any:
    return setting.simulated(unit)[0]


def symmetric(coupling: Any) -> torch.Tensor:
    full = (coupling + coupling.mT) / 2
    return full - torch.diag(full.diagonal())


# Controls -------------------------------------------------------------------------------------


def test_what_is_cancelled_is_gone(setting: Setting) -> None:
    params, system = setting.initial(0), unit_of(setting)
    corrected = cancelled(params, symmetric(system.mismatch.coupling))
    gain_alone = system.with_mismatch(
        dataclasses.replace(system.mismatch, coupling=None, tolerance=None)
    )
    inputs = setting.data.test.inputs[:20]
    there = setting.logits(corrected, inputs, (system,))
    expected = setting.logits(params, inputs, (gain_alone,))
    torch.testing.assert_close(there, expected, rtol=1e-4, atol=1e-3)
    before = setting.logits(params, inputs, (system,))
    assert (before - expected).abs().max() > 1  # it was there


def test_a_limit_is_kept_and_what_fits_in_it_is_cancelled() -> None:
    offset = torch.tensor([[0.0, 0.5, 3.0], [0.5, 0.0, -0.2], [3.0, -0.2, 0.0]])
    found = cancelled({COUPLING: torch.zeros(3, 3), "force": torch.ones(3)}, offset, limit=2.0)
    set_to = 2 * (found[COUPLING] / 2).tanh()
    wanted = -offset.clamp(-2 * NEAR, 2 * NEAR)
    torch.testing.assert_close(set_to, wanted, rtol=1e-5, atol=1e-6)
    assert found["force"].tolist() == [1, 1, 1]


@pytest.mark.parametrize("limit", [None, 2.0])
def test_the_correction_is_differentiated(limit: float | None) -> None:
    torch.set_default_dtype(torch.float64)
    generator = torch.Generator().manual_seed(1)
    raw = 0.5 * torch.randn(3, 3, generator=generator)
    offset = torch.randn(3, 3, generator=generator)
    inside = 1.5 * torch.tanh(offset + offset.mT)  # no entry at the clamp's corner

    def function(raw: torch.Tensor, offset: torch.Tensor) -> torch.Tensor:
        return cancelled({COUPLING: raw}, offset, limit)[COUPLING]

    assert gradcheck(function, (raw.requires_grad_(), inside.requires_grad_()))


# Measuring ------------------------------------------------------------------------------------


def test_nothing_is_measured_twice(setting: Setting) -> None:
    device = SimulatedDevice(setting.nominal[0])
    unit = Measurement(device, low=-1.5, high=1.5, most=20, seed=3)
    drives, readouts = unit.first(8)
    again, same = unit.first(5)
    assert device.calls == unit.calls == 8
    assert again.equal(drives[:5]) and same.equal(readouts[:5])
    more, _ = unit.first(20)
    assert device.calls == 20 and more[:8].equal(drives) and drives.abs().max() <= 1.5
    torch.testing.assert_close(readouts, setting.nominal[0](drives, unit.controls))


def test_an_earlier_budget_is_enough_where_its_twin_predicts(setting: Setting, prior: Any) -> None:
    unit = measured(setting, most=100)
    few, enough, settled = identify(prior, [unit], (6, 30, 100))
    assert (few.calls, enough.calls, settled.calls, unit.calls) == (6, 30, 40, 40)
    assert settled.same(enough) and not enough.same(few)
    truth = symmetric(unit_of(setting).mismatch.coupling)
    errors = [
        float((k.twin[0].mismatch.coupling - truth).norm() / truth.norm()) for k in (few, enough)
    ]
    # 6 of 30 calls: 156 of 325 couplings at most; 30 calls in single precision tell them all.
    assert errors[0] > 0.3 and errors[1] < 0.02


def test_with_noise_every_call_is_taken(setting: Setting, prior: Any) -> None:
    noisy = build(dataclasses.replace(setting.config, noise=0.05))
    found = identify(prior._replace(noise=0.05), noisy.measurements(UNIT, 40), (20, 40))
    assert [known.calls for known in found] == [20, 40]
    assert found[1].posteriors[0].variance.mean() < 0.9 * found[0].posteriors[0].variance.mean()


def test_converters_stand_before_the_controls_of_a_unit_and_of_its_twin(
    setting: Setting, prior: Any
) -> None:
    coarse = build(dataclasses.replace(setting.config, bits=4, coupling_limit=2.0))
    (unit,) = coarse.measurements(UNIT, 30)
    # 16 levels: none is zero, and what is set is what the twin is told.
    step = 2 * 2.0 / 15
    torch.testing.assert_close(unit.controls["coupling"].abs(), torch.full((26, 26), step / 2))
    (known,) = identify(prior, [unit], (30,))
    truth = symmetric(unit_of(setting).mismatch.coupling)
    assert (known.twin[0].mismatch.coupling - truth).norm() < 0.02 * truth.norm()


def test_a_unit_is_judged_through_its_converters(setting: Setting) -> None:
    coarse = build(dataclasses.replace(setting.config, bits=2, coupling_limit=2.0))
    part = setting.data.test
    params, device = coarse.initial(0), coarse.devices(UNIT)
    levels = torch.tensor([-2.0, -2 / 3, 2 / 3, 2.0])
    raw = params[COUPLING]
    nearest = levels[((2 * (raw / 2).tanh()).unsqueeze(-1) - levels).abs().argmin(-1)]
    force = params["layers.0.controls.force"]
    steps = torch.tensor([-8.0, -8 / 3, 8 / 3, 8.0])
    controls = {"coupling": nearest, "force": steps[(force.unsqueeze(-1) - steps).abs().argmin(-1)]}
    inputs = torch.nn.functional.pad(part.inputs, (0, 10))
    predicted = unit_of(setting)(inputs, controls)[:, -10:].argmax(-1)
    expected = float((predicted == part.targets).double().mean())
    assert coarse.accuracy(params, device, part) == pytest.approx(expected, abs=0.005)
    assert device[0].calls == len(part)


class Wandering(Device):
    """A unit that is another one from the 31st call on."""

    def __init__(self, first: OscillatorArray, then: OscillatorArray) -> None:
        self.first, self.then, self.ports = first, then, first.ports

    def _read(self, drive: torch.Tensor, controls: Any) -> torch.Tensor:
        return (self.first if self.calls < 30 else self.then)(drive, controls)


def test_a_twin_that_does_not_predict_is_fitted_again(setting: Setting, prior: Any) -> None:
    device = Wandering(unit_of(setting), unit_of(setting, UNIT + 1))
    unit = Measurement(device, low=-1.5, high=1.5, most=40, seed=0)
    first, second = identify(prior, [unit], (30, 40))
    assert not second.same(first) and unit.calls == 40
    assert second.posteriors[0].misfit > 100 * first.posteriors[0].misfit


# The prior ------------------------------------------------------------------------------------


def test_the_prior_is_learned_from_three_units(setting: Setting, prior: Any) -> None:
    guess = Prior(OscillatorUnknowns(setting.nominal[0], 1.0, 0.0, 0.2), 0.01)
    units = [measured(setting, k, 20) for k in range(3)]
    counts: list[int] = []
    found: Any = learn_prior(guess, units, calls=20, rounds=3, progress=counts.append)
    # 975 couplings tell their deviation to 2.3 %.
    assert found.unknowns.coupling == pytest.approx(prior.unknowns.coupling, rel=0.07)
    assert found.unknowns.gain == pytest.approx(0.1, abs=2e-3)
    assert found.unknowns.gain_deviation < 0.02 and found.noise < 1e-3
    assert counts == list(range(1, 10)) and all(unit.calls == 20 for unit in units)


def test_another_prior_has_other_scores_for_the_same_unit(setting: Setting, prior: Any) -> None:
    posterior = inferred(prior, measured(setting), 8)
    other = dataclasses.replace(prior.unknowns, coupling=0.4, gain=0.2, gain_deviation=0.3)
    z = prior.unknowns.translated(posterior.z, other)
    same = dataclasses.replace(posterior, unknowns=other, z=z)
    for name in ("coupling", "gain"):
        before, after = (getattr(p.twin.mismatch, name) for p in (posterior, same))
        torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)
    assert (same.z - posterior.z).abs().max() > 0.1


# Training and adapting ------------------------------------------------------------------------


def test_the_loss_after_a_correction_is_what_descends(setting: Setting) -> None:
    """Adam's first step is against the sign of the gradient, here from the equation itself."""
    params, system = setting.initial(0), unit_of(setting)
    offset = 0.3 * symmetric(system.mismatch.coupling)  # not all of it

    def correct(params: Any, unit: Any) -> Any:
        return cancelled(params, offset)

    step = training_step(
        setting, always((system,)), steps=10, lr=1e-3, key=("test",), correction=correct
    )
    after = step(begin(params, 10), 0)
    inputs, targets = setting.batch("test", 0)
    raw = params[COUPLING].clone().requires_grad_()
    controls = {"coupling": raw - offset, "force": params["layers.0.controls.force"]}
    readout = system(torch.nn.functional.pad(inputs, (0, 10)), controls)
    loss = torch.nn.functional.cross_entropy(10 * readout[:, -10:], targets)
    (expected,) = torch.autograd.grad(loss, raw)
    clear = expected.abs() > 1e-4
    assert clear.sum() > 300
    moved = after.learned[COUPLING] - params[COUPLING]
    torch.testing.assert_close(moved[clear], -1e-3 * expected[clear].sign(), rtol=1e-2, atol=1e-6)
    torch.testing.assert_close(after.losses[0], loss.detach(), rtol=1e-5, atol=1e-6)


def test_recalibration_wins_back_what_a_unit_cost(setting: Setting, prior: Any) -> None:
    start = learn_start(
        setting, setting.initial(0), always(setting.nominal), steps=150, lr=0.03, key=("start",)
    )
    inputs, targets = setting.data.test.inputs, setting.data.test.targets
    system = unit_of(setting)

    def accuracy(params: Any, on: Any) -> float:
        return float((setting.logits(params, inputs, (on,)).argmax(-1) == targets).double().mean())

    (known,) = identify(prior, [measured(setting)], (30,))
    found = adapted(setting, start, known, ("adapt",))
    nominal, lost = accuracy(start, setting.nominal[0]), accuracy(start, system)
    back = accuracy(found, system)
    assert lost < nominal - 0.1
    assert back > nominal - 0.05 and known.calls == 30


def test_training_depends_on_its_key_alone(setting: Setting) -> None:
    def learned(key: str) -> torch.Tensor:
        return learn_start(
            setting, setting.initial(0), always(setting.nominal), steps=3, lr=0.1, key=(key,)
        )[COUPLING]

    assert learned("a").equal(learned("a")) and not learned("a").equal(learned("b"))


def test_steps_on_the_twin_have_their_own_batch(setting: Setting) -> None:
    def on_twin(**changes: Any) -> torch.Tensor:
        config = dataclasses.replace(setting.config, twin_steps=3, twin_lr=0.1, **changes)
        of = dataclasses.replace(setting, config=config)
        return trained(of, setting.initial(0), always(setting.nominal), ("a",))[COUPLING]

    assert on_twin(batch=50, twin_batch=20).equal(on_twin(batch=20))
    assert not on_twin(batch=20).equal(on_twin(batch=50))


@pytest.mark.parametrize(
    "change",
    [
        {"budgets": ()},
        {"budgets": (50, 50)},
        {"units": 0},
        {"noise": -0.1},
        {"spread": 0.0},
        {"coupling_limit": 0.0},
        {"twin_batch": 0},
    ],
)
def test_a_configuration_that_means_nothing_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        RecalibrationConfig(**change)


# Layers of other systems ----------------------------------------------------------------------

STACKS = {"plate": 22, "circuit": 9, "shg": 6}


@pytest.mark.parametrize("system", STACKS)
def test_every_system_has_a_setting(system: Any) -> None:
    setting = build(RecalibrationConfig(system=system, layers=3, noise=0.002, judged=20, pool=2))
    assert setting.guess.unknowns.size == STACKS[system]
    layers = setting.measurements(UNIT, most=10)
    drives, readouts = layers[1].first(3)
    # The layers are units of their own, and each has a share of the budget.
    assert not layers[0].first(3)[0].equal(drives) and len(layers) == 3
    assert setting.low <= float(drives.min()) and float(drives.max()) <= setting.high
    own, other = (setting.simulated(UNIT)[n](drives, {}) for n in (1, 2))
    assert (readouts - own).std() < 0.5 * (own - other).std()
    inputs = setting.data.test.inputs
    logits = setting.logits(setting.initial(0), inputs, setting.nominal)
    assert logits.shape == (20, setting.data.classes) and logits.isfinite().all()
    names = [name for name in setting.initial(0) if ".controls." in name]
    assert not any(setting.initial(0)[name].equal(setting.initial(1)[name]) for name in names)


def test_a_stack_of_plates_is_won_back() -> None:
    """One plate: in silico controls are lost on a unit; those made for its posterior are not."""
    config = RecalibrationConfig(
        system="plate", layers=1, noise=0.02, batch=50, twin_steps=60, twin_lr=0.05, spread=1.5
    )
    setting = build(config)
    start = learn_start(
        setting, setting.initial(0), always(setting.nominal), steps=150, lr=0.1, key=("start",)
    )
    prior = setting.guess._replace(draws=300)
    (few, known) = identify(prior, setting.measurements(UNIT, 8), (2, 8))
    assert (few.calls, known.calls) == (2, 8) and not few.same(known)
    test = setting.data.test
    there = setting.accuracy(start, setting.devices(UNIT), test)
    back = adapted(setting, start, known, ("adapt",))
    assert setting.accuracy(back, setting.devices(UNIT), test) > there + 0.1
    # What was drawn are units like this one: their readouts are nearer than the nominal plate's.
    (truth,), drives = setting.simulated(UNIT), known_drives(setting)
    off = [
        (plate(drives, {}) - truth(drives, {})).norm()
        for plate in (known.twin[0], *setting.nominal)
    ]
    assert off[0] < 0.3 * off[1]


def known_drives(setting: Setting) -> torch.Tensor:
    return setting.measurements(UNIT + 1, 8)[0].first(8)[0]


def test_the_experiment_runs_on_plates_and_is_read_again(tmp_path: Path) -> None:
    config = RecalibrationConfig(system="plate", layers=2, noise=0.02, judged=30, budgets=(4, 8))
    config = dataclasses.replace(config.quick(), units=1, prior_calls=4)
    run = RunDirectory(tmp_path / "run", config.to_json())
    rows = recalibrate(config, run, Silent())
    calls = {row["method"]: row["device_calls"] for row in rows}
    assert len(calls) == len(rows) == 15 and "start alone" not in calls
    for name in ("recalibrated", "Gauss-Newton", "Gauss-Newton from 1000 draws"):
        assert (calls[f"{name}, 4 calls"], calls[f"{name}, 8 calls"]) == (4, 8)
    for name in ("in silico", "population start"):
        tuned = [row for row in rows if row["method"].startswith(f"{name} + fine-tuning")]
        assert [(row["device_calls"], row["labels"]) for row in tuned] == [(4, 2), (8, 4)]
        assert calls[name] == 0
    assert calls["another unit's"] == 0 and calls["full training"] == 2 * (2 * 100 + 269) * 2
    again = RunDirectory(tmp_path / "run", config.to_json(), resume=True)
    assert recalibrate(config, again, Silent()) == rows


def test_the_prior_of_plates_is_nearer_than_the_guess() -> None:
    setting = build(RecalibrationConfig(system="plate", layers=1, noise=0.02))
    units = [layer for k in range(4) for layer in setting.measurements(k, 8)]
    guess = setting.guess._replace(draws=300)
    found = learn_prior(guess, units, calls=4, rounds=1)
    stated = setting.guess.unknowns.moments()[1] / 2
    thickness = (found.unknowns.moments()[1] / stated)[0]
    assert 0.3 < thickness < 1.7  # the guess is 2; four plates tell a deviation to 35 %
    sigma = setting.populations[0].noise
    assert found.noise == pytest.approx(sigma, rel=0.1)
    assert found.draws == 300 < setting.guess.draws


def test_units_are_drawn_where_units_can_be() -> None:
    """Under this prior every sixth transistor carries its current backwards, and answers NaN."""
    circuit = Circuit(samples=4)
    unknowns = MismatchUnknowns(circuit, {"Is": torch.tensor(1.0)})
    scores, centre = torch.linspace(-3, 3, 13).unsqueeze(-1), torch.tensor([0.5])
    drive = torch.linspace(-2, 2, 4)
    impossible = [not unknowns.system(z)(drive, {}).isfinite().all() for z in scores]
    assert 3 <= sum(impossible) <= 5
    for z, moves in zip(scores, impossible, strict=True):
        found: Any = answering(unknowns, z, centre)
        assert found(drive, {}).isfinite().all()
        assert bool(found.mismatch.Is == z[0]) != moves
        assert not moves or -1 < found.mismatch.Is < 0.5


def test_where_not_even_the_centre_answers_nobody_waits_for_ever() -> None:
    unknowns = MismatchUnknowns(Circuit(samples=4), {"Is": torch.tensor(1.0)})
    backwards = torch.tensor([-3.0])
    with pytest.raises(FloatingPointError, match="`centre` must be scores at which"):
        answering(unknowns, backwards, backwards)


def test_imagined_units_are_those_of_the_prior() -> None:
    setting = build(RecalibrationConfig(system="circuit", layers=2))
    units = imagined(setting.guess, 2, "a test")
    drawn = torch.stack([layer.mismatch.L for k in range(200) for layer in units(k)])
    mean, deviation = setting.guess.unknowns.moments()[:, 1]
    assert float(drawn.double().mean() - mean) == pytest.approx(0, abs=0.2 * float(deviation))
    assert float(drawn.double().std()) == pytest.approx(float(deviation), rel=0.1)
    assert units(3)[1].mismatch.L.equal(units(3)[1].mismatch.L)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("data_root", {"data": "vowels"}),
        ("data", {"data": "vowels", "data_root": "somewhere"}),
        ("budgets", {"budgets": (2, 4), "layers": 3, "system": "shg"}),
        ("system", {"system": "laser"}),
        ("prior_units", {"prior_units": 10_001}),
        ("tuning_units", {"tuning_units": 10_001}),  # the last would be a test unit
    ],
)
def test_a_configuration_is_refused_with_what_does_not_fit(
    name: str, change: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=f"^`{name}` must be"):
        RecalibrationConfig(**change)


def test_a_unit_is_not_said_to_be_measured_more_often_than_it_was(setting: Setting) -> None:
    unit = setting.measurements(20_000, 10)
    with pytest.raises(ValueError, match=r"`count` must be 0 … 10, but got 30"):
        gauss_newton(setting.guess, unit, 30)
    with pytest.raises(ValueError, match=r"`count` must be 0 … 10, but got 30"):
        identify(setting.guess, unit, [30])
    assert unit[0].calls == unit[0].device.calls == 0


def test_a_prior_is_not_learned_from_nothing(setting: Setting) -> None:
    with pytest.raises(ValueError, match="`units` must be at least one"):
        learn_prior(setting.guess, [], calls=5, rounds=1)
    with pytest.raises(ValueError, match="`calls` must be >= 1"):
        learn_prior(setting.guess, setting.measurements(3, 10), calls=0, rounds=1)
