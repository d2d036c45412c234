"""The rivals of recalibration: a classical fit, labels, other units, training without a budget."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from metaphys._runs import RunDirectory, Silent
from metaphys.training._phases import Phases
from metaphys.training.recalibration import (
    RecalibrationConfig,
    Setting,
    always,
    build,
    cancelled,
    gauss_newton,
    on_twin,
    recalibrate,
    trained,
)
from metaphys.training.recalibration import _learning as learning
from metaphys.training.recalibration._fine_tuning import KINDS, Kind, calls_of, fine_tuned
from tests._runs.stopping import failing_at_every, finished_in_parts, killed_and_resumed
from tests.training.blind import blind, units_asked_for

UNIT = 20_000


@pytest.fixture(autouse=True)
def single_precision() -> Any:
    torch.set_default_dtype(torch.float32)


# What judges is not looked at before -----------------------------------------------------------


def test_nothing_is_learned_or_tuned_on_what_judges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = build(RecalibrationConfig(budgets=(4, 12)).quick())
    setting = dataclasses.replace(setting, data=blind(setting.data))
    asked = units_asked_for(monkeypatch)
    phase = Phases(RunDirectory(tmp_path / "run", {}), Silent())
    prior, start = learning.the_prior(setting, phase), learning.in_silico(setting, phase)
    learning.of_another(setting, phase, prior, start)
    learning.population_start(setting, phase, prior)
    assert asked and max(asked) < 10_000
    asked.clear()
    tuned = learning.choose(setting, phase, "in silico", start)
    assert asked == {10_000}
    reached = [trial["accuracy"] for each in tuned.sweeps.values() for trial in each["sweep"]]
    assert len(tuned.kinds) == len(setting.config.budgets) and max(reached) > 0


# The classical rival ---------------------------------------------------------------------------


def test_the_fit_estimates_the_noise_that_it_was_not_told() -> None:
    setting = build(RecalibrationConfig(system="plate", layers=2, noise=0.02))
    layers, (truth, _) = setting.measurements(UNIT, 17), setting.simulated(UNIT)
    known = gauss_newton(setting.guess, layers, 17, draws=100)
    # All of a budget is spent, as far as the layers share it evenly.
    assert known.calls == 16 and [layer.calls for layer in layers] == [8, 8]
    drives, _ = layers[0].first(8)
    for posterior, population in zip(known.posteriors, setting.populations, strict=True):
        assert posterior.noise == pytest.approx(population.noise, rel=0.2)
        assert posterior.noise < 0.5 * setting.guess.noise
    plates = (known.twin[0], *setting.nominal[:1])
    off = [(plate(drives, {}) - truth(drives, {})).norm() for plate in plates]
    assert off[0] < 0.3 * off[1]


def test_exact_readouts_leave_little_noise() -> None:
    setting = build(RecalibrationConfig())
    known = gauss_newton(setting.guess, setting.measurements(UNIT, 40), 40)
    # What the first round's regularisation left unexplained, far below the guess of 0.01.
    assert 1e-5 <= known.posteriors[0].noise < 3e-4
    offset = setting.simulated(UNIT)[0].mismatch.coupling
    error = known.twin[0].mismatch.coupling - (offset + offset.mT) / 2
    assert error.fill_diagonal_(0).norm() < 0.02 * offset.norm()


def test_training_is_on_the_most_probable_twin_after_what_can_be_cancelled() -> None:
    setting = build(RecalibrationConfig(coupling_limit=4.0, batch=10, twin_steps=3))
    known = gauss_newton(setting.guess, setting.measurements(UNIT, 10), 10)
    start = setting.initial(0)
    corrected = cancelled(start, known.twin[0].mismatch.coupling, limit=4.0)
    expected = trained(setting, corrected, always(known.twin), ("a test",))
    found = on_twin(setting, start, known.twin, ("a test",))
    assert all(found[name].equal(expected[name]) for name in start)
    assert not any(found[name].equal(corrected[name]) for name in start)


# Fine-tuning ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("budget", "steps", "each"), [(25, 5, 2), (6, 3, 1), (2, 1, 1)])
def test_a_budget_of_labels_is_shared_by_layers_and_steps(
    budget: int, steps: int, each: int
) -> None:
    setting = build(RecalibrationConfig(system="plate", budgets=(2,), judged=10))
    devices, start = setting.devices(UNIT), setting.initial(0)
    found = fine_tuned(setting, start, devices, UNIT, budget, Kind("SGD", 0.1))
    assert found.labels == steps * each
    assert found.calls == calls_of(devices) == 2 * steps * each <= budget


def test_a_step_of_fine_tuning_is_measured_forward_and_the_nominal_twins_backward() -> None:
    config = RecalibrationConfig(fine_steps=1, budgets=(20,), spread=0.5)
    setting, lr = build(config), 0.5
    start, (array,) = setting.initial(0), setting.nominal
    found = fine_tuned(setting, start, setting.devices(UNIT), UNIT, 20, Kind("SGD", lr))
    inputs, targets = setting.batch(config.seed, "fine-tuning", UNIT, 0, count=20)
    # By hand: the loss's slope at what the unit answered, through the nominal array's derivatives.
    readout = setting.logits(start, inputs, setting.simulated(UNIT)).requires_grad_()
    (slope,) = torch.autograd.grad(torch.nn.functional.cross_entropy(readout, targets), readout)
    held = {name: value.clone().requires_grad_() for name, value in start.items()}
    surrogate = (setting.logits(held, inputs, (array,)) * slope).sum()
    grads = torch.autograd.grad(surrogate, list(held.values()))
    for name, grad in zip(held, grads, strict=True):
        stepped = start[name] - lr * grad
        torch.testing.assert_close(found.params[name], stepped, rtol=1e-4, atol=1e-5)
        assert not found.params[name].equal(start[name])


# The experiment ---------------------------------------------------------------------------------

FEW = RecalibrationConfig(units=2, budgets=(3, 4), batch=4, full_units=1).quick()
KILLED = """
from metaphys._runs import Silent
from metaphys.training import RecalibrationConfig, RunDirectory, recalibrate
config = RecalibrationConfig(units=2, budgets=(3, 4), batch=4, full_units=1).quick()
recalibrate(config, RunDirectory(sys.argv[1], config.to_json(), resume=True), Silent())
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nobody stopped."""
    torch.set_default_dtype(torch.float32)
    path = tmp_path_factory.mktemp("recalibration") / "whole"
    recalibrate(FEW, RunDirectory(path, FEW.to_json()), Silent())
    return path


def chosen(path: Path) -> Any:
    return json.loads((path / "summary.json").read_text())["rates"]


def test_rates_are_chosen_for_every_start_and_budget(whole: Path) -> None:
    found = chosen(whole)
    starts = ("in silico", "population start")
    assert list(found) == [f"{start} under {budget} calls" for start in starts for budget in (3, 4)]
    for each in found.values():
        best = max(each["sweep"], key=lambda trial: trial["accuracy"])
        assert each["chosen"] == f"{best['optimizer']}, lr {best['lr']:g}"
        assert len(each["sweep"]) == len(KINDS)


def test_times_are_beside_the_table_which_has_none(whole: Path) -> None:
    summary = json.loads((whole / "summary.json").read_text())
    taken = summary["adapting"]
    assert all(len(taken[f"{name}, 4 calls"]) == 2 for name in ("recalibrated", "Gauss-Newton"))
    assert min(taken["recalibrated, 4 calls"]) > 0 and max(taken["in silico"]) == 0
    assert summary["seconds"]["full training, unit 20000"] >= 0
    assert "seconds" not in (whole / "metrics.csv").read_text()


def test_a_run_killed_among_the_rivals_ends_with_the_same_bits(whole: Path, tmp_path: Path) -> None:
    phases = ("judging-Gauss-Newton", "full-training-unit-20000")
    killed_and_resumed(KILLED, tmp_path / "parts", *phases)
    assert (tmp_path / "parts" / "metrics.csv").read_bytes() == (whole / "metrics.csv").read_bytes()
    assert chosen(tmp_path / "parts") == chosen(whole)
    curves = [(path / "curves.json").read_bytes() for path in (tmp_path / "parts", whole)]
    assert curves[0] == curves[1]


def test_a_run_interrupted_again_and_again_ends_with_the_same_bits(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Setting, "accuracy", failing_at_every(7, Setting.accuracy))

    def run(resume: bool) -> None:
        directory = RunDirectory(tmp_path / "parts", FEW.to_json(), resume=resume)
        recalibrate(FEW, directory, Silent())

    _, interruptions = finished_in_parts(run)
    assert interruptions >= 6
    assert (tmp_path / "parts" / "metrics.csv").read_bytes() == (whole / "metrics.csv").read_bytes()
    assert chosen(tmp_path / "parts") == chosen(whole)


def test_without_full_training_there_is_none(tmp_path: Path) -> None:
    config = dataclasses.replace(FEW, full_units=0, units=1, budgets=(3,))
    run = RunDirectory(tmp_path / "run", config.to_json())
    methods = [row["method"] for row in recalibrate(config, run, Silent())]
    assert "full training" not in methods and "linear classifier" in methods
