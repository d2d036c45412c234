"""Meta-training of every system, with every kind of meta-parameter; in sizes that take seconds."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import optree
import pytest
import torch
from torch import Tensor

import metaphys
from metaphys._runs import MEASUREMENTS, Silent
from metaphys.physics import (
    SHG,
    Circuit,
    Population,
    SimulatedDevice,
    SpiceDevice,
    ThinSHG,
    random_drives,
)
from metaphys.training import (
    Config,
    RunDirectory,
    adapt,
    adapt_unit,
    build,
    cross_entropy,
    load_model,
    load_network,
    meta_train,
    read_config,
    read_metrics,
    save_model,
)
from metaphys.training._classical import classical_setting, classical_step
from metaphys.training._draws import draw_samples
from metaphys.training._fleet import running
from metaphys.training._judge import fine_tuning, judge
from metaphys.training._kinds import KINDS, PULSES
from metaphys.training._loop import begin
from metaphys.training._meta import learned_rule, measured_rows, meta_step
from metaphys.training._outer import full_training, population_step
from tests.training.runs import uniform

SMALL = Config(
    system="circuit",
    units=2,
    labels=4,
    queries=3,
    adapt_steps=2,
    meta_units=2,
    nominal_steps=2,
    population_steps=2,
    meta_steps=2,
    full_epochs=2,
    epoch_steps=1,
    twin_steps=2,
    classical_units=1,
    judged=20,
)
SYSTEMS = {
    "plate": {"system": "plate", "layers": 2},
    "circuit": {"system": "circuit", "layers": 2},
    "shg": {"system": "shg", "pool": 2, "layers": 1},
    "oscillators": {"system": "oscillators", "pool": 2, "layers": 2},
}
EVERYTHING = ("start", "rates", "twin", "correction", "samples")
ONE_RATE = {("SGD", "cross entropy"): (0.1,)}


@pytest.fixture(autouse=True)
def float32(laboratory: None):
    """The experiment runs in the user's default dtype, which is float32."""
    torch.set_default_dtype(torch.float32)


def small(**options: Any) -> Config:
    return dataclasses.replace(SMALL, **options)


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_unit_is_the_same_alone_and_in_a_fleet(system: str) -> None:
    problem = build(small(**SYSTEMS[system]))
    recipe = fine_tuning("SGD", "cross entropy", 0.1)
    test = problem.data.test
    both = judge(problem, [20_000, 20_001], problem.initial, test, recipe=recipe)
    alone = judge(problem, [20_001], problem.initial, test, recipe=recipe)
    assert both.device_calls == alone.device_calls == problem.config.calls
    for name, value in alone.params.items():
        torch.testing.assert_close(both.params[name][1], value[0], rtol=1e-3, atol=1e-4)
        assert not value[0].equal(problem.initial[name]) or value.numel() == 1


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_phase_lowers_nothing_to_nan_and_calls_what_it_says(system: str) -> None:
    problem = build(small(**SYSTEMS[system], learn=EVERYTHING))
    full = full_training(problem, problem.initial, [20_000])
    population = population_step(problem, "test", 3, 0.01)
    begun = begin(problem.initial, 3)
    pairs = (
        (population(begun, 0).learned, begun.learned),
        (full.step(full.begun, 0).learned, full.begun.learned),
    )
    for learned, start in pairs:
        assert all(value.isfinite().all() for value in learned.values())
        assert any(not learned[name].equal(start[name]) for name in start)
    first = uniform(problem, 3)
    assert set(first.learned) == {"start", "rates", "twin", "samples"}
    assert "1.weight" in first.learned["start"]
    learned = meta_step(problem, 3)(first, 0).learned
    for kind, before in first.learned.items():
        moved = [not learned[kind][name].equal(value) for name, value in before.items()]
        assert any(moved), kind
        assert all(value.isfinite().all() for value in learned[kind].values())


@pytest.mark.parametrize("kind", ["start", "rates", "twin", "samples"])
def test_what_is_not_to_be_learned_stays(kind: str) -> None:
    problem = build(small(learn=(kind,)))
    first = uniform(problem, 3)
    learned = meta_step(problem, 3)(first, 0).learned
    for name, each in first.learned.items():
        same = all(learned[name][n].equal(value) for n, value in each.items())
        assert same == (name != kind)


@pytest.mark.parametrize("adjoint", ["checkpoint", "mixed", "truncated", "one-step"])
def test_exact_adjoints_give_the_same_outer_step(adjoint: Any) -> None:
    torch.set_default_dtype(torch.float64)
    problem = build(small(learn=EVERYTHING))

    def stepped(adjoint: Any) -> list[Tensor]:
        config = dataclasses.replace(problem.config, adjoint=adjoint)
        other = dataclasses.replace(problem, config=config)
        first = uniform(other, 3)
        found = meta_step(other, 3)(first, 0)
        return [*optree.tree_leaves(found.learned), found.losses[0]]

    found, expected = stepped(adjoint), stepped("full")
    torch.testing.assert_close(found[-1], expected[-1])
    close = [torch.allclose(a, b, rtol=1e-6, atol=1e-9) for a, b in zip(found, expected)]
    assert all(close) == (adjoint in ("checkpoint", "mixed"))


def test_the_gradient_by_a_twins_mismatch_is_that_of_central_differences() -> None:
    """Through two inner steps: forward measured, backward through a twin that is learned."""
    torch.set_default_dtype(torch.float64)
    problem = build(small(noise=0.0, learn=("start", "rates", "twin", "samples")))
    x, y = draw_samples(problem.data.train, 1, 7, "test")
    fleet = problem.fleet([20_000], "test")
    learned = uniform(problem, 1).learned
    learned["twin"] = {"0": 0.3 * torch.randn_like(learned["twin"]["0"])}
    drives = []
    unit = problem.populations[0].simulated(20_000)

    def outer(apply: Any, scores: Tensor, x: Tensor, y: Tensor) -> Tensor:
        adapted = adapt(
            apply,
            learned["start"],
            x[:4],
            y[:4],
            rule=learned_rule(learned["rates"]),
            steps=2,
            loss=cross_entropy,
            scores={"0": scores},
        )
        return cross_entropy(apply(adapted, x[4:]), y[4:])

    at = learned["twin"]["0"]
    (grad,) = torch.func.grad(
        lambda z: fleet.each(outer, (None, 0, 0), z, x, y).sum(), argnums=(0,)
    )(at)

    class Offset:
        """f_twin(z) + offset, the offsets of the calls frozen at the first pass."""

        ports, units = problem.populations[0].system.ports, ()

        def __init__(self, twin: Any, frozen: Any) -> None:
            self.twin, self.frozen = twin, frozen

        def __call__(self, drive: Tensor, controls: Any) -> Tensor:
            model = self.twin(drive, controls)
            if self.frozen is not None:
                return model + next(self.frozen)
            gap = unit(drive, controls) - model
            drives.append(torch.func.debug_unwrap(gap, recurse=True).detach())
            return model + gap.detach()

    def frozen(z: Tensor, offsets: Any) -> Tensor:
        def apply(params: Any, inputs: Tensor, scores: Any = None) -> Tensor:
            model = Offset(problem.twins.at(scores)[0], offsets)
            return running(problem.network, model)(params, inputs)

        return outer(apply, z, x[0], y[0])

    frozen(at, None)
    step, direction = 1e-4, torch.randn_like(at)
    there, back = (frozen(at + s * direction, iter(drives)) for s in (step, -step))
    expected = (there - back) / (2 * step)
    torch.testing.assert_close(grad @ direction, expected, rtol=1e-5, atol=1e-9)
    assert grad.abs().max() > 1e-6


def test_the_classical_rival_takes_back_what_every_array_of_a_network_has_too_much() -> None:
    exact = {"gain": 0.0, "gain_spread": 0.0, "noise": 0.0, "coupling_limit": None}
    config = small(**SYSTEMS["oscillators"], learn=("start", "correction"), units=1, **exact)
    problem = build(config)
    setting, start, inputs = classical_setting(problem), problem.initial, problem.data.test.inputs
    assert setting.correct is not None
    sizes = [system.ports.drive for system in setting.nominal]
    assert len(set(sizes)) == 2  # each has unknowns of its own
    unit = setting.simulated(20_000)
    corrected = setting.correct(start, unit)
    expected = setting.logits(start, inputs, setting.nominal)
    torch.testing.assert_close(setting.logits(corrected, inputs, unit), expected, rtol=0, atol=1e-3)
    assert (setting.logits(start, inputs, unit) - expected).abs().max() > 0.1  # it was there
    (reached,) = classical_step(problem, setting, start, [20_000])(torch.zeros(1), 0).tolist()
    assert 0 <= reached <= 1 and setting.config.budgets == (config.calls,)


def test_the_classical_rival_takes_the_budget_and_the_units_in_turn() -> None:
    problem = build(small(system="plate", spread=0.2, noise=0.01, labels=8))
    setting = classical_setting(problem)
    assert setting.config.budgets == (16,) and setting.populations is problem.populations
    step = classical_step(problem, setting, problem.initial, [20_000, 20_001])
    before = torch.tensor([0.25, -1.0], dtype=torch.float64)
    first, second = step(before, 1).tolist()
    assert first == 0.25 and 20 * second == pytest.approx(round(20 * second)) and second >= 0
    # A fit, and two steps on the twin: no other accuracy than in a fleet of its own.
    assert step(before, 1).tolist() == [first, second]


@pytest.mark.parametrize("learn", [("start", "rates"), EVERYTHING])
def test_a_run_its_model_and_a_device_of_ones_own(tmp_path: Path, learn: Any) -> None:
    config = small(learn=learn)
    run = RunDirectory(tmp_path / "run", config.to_json())
    rows = meta_train(config, run, Silent(), grid=ONE_RATE)
    reached = {row["method"]: row for row in rows if row["unit"] in (-1, 20_000)}
    assert {"another unit's", "twin fitted by Gauss-Newton", "meta-learned"} <= reached.keys()
    assert reached["meta-learned"]["device_calls"] == config.calls == 8
    model = run.path / "model.safetensors"
    found = adapt_unit(model, 20_000)
    assert found["accuracy_after"] == pytest.approx(reached["meta-learned"]["accuracy"])
    _, problem, _ = load_model(model)
    device = SimulatedDevice(problem.populations[0].simulated(20_000))
    own = adapt_unit(model, devices=[device], judged=10)
    assert own["device_calls"] == 8 and device.calls == 8 + 2 * 10
    assert own["output"].name == "adapted-device.safetensors"


def test_devices_that_do_not_fit_are_refused_by_name(tmp_path: Path) -> None:
    problem = build(SMALL)
    wrong = SimulatedDevice(Circuit(samples=7))
    for devices in ([], [wrong], [SimulatedDevice(problem.twins.nominal[0])] * 2):
        with pytest.raises(ValueError, match="`devices` must be"):
            problem.bench(devices)
    for given in ({}, {"unit": 1, "devices": [wrong]}):
        with pytest.raises(ValueError, match="`unit` must be a seed, or devices"):
            adapt_unit(tmp_path / "model.safetensors", **given)


def test_samples_to_measure_begin_with_every_class_in_turn() -> None:
    problem = build(small(labels=23))
    targets = problem.data.train.targets[measured_rows(problem)]
    assert targets.bincount().tolist() == [3, 3, 3, 2, 2, 2, 2, 2, 2, 2]


def test_the_course_of_adapting_is_what_fewer_steps_reach() -> None:
    problem = build(small(adapt_steps=3, judged=60, noise=0.01))
    config, test = problem.config, problem.data.test
    recipe, units = fine_tuning("Adam", "cross entropy", 0.03), [20_000, 20_001]

    def after(steps: int) -> float:
        shorter = dataclasses.replace(
            problem, config=dataclasses.replace(config, adapt_steps=steps)
        )
        found = judge(shorter, units, problem.initial, test, recipe=recipe)
        return float(found.accuracy.mean())

    found = judge(problem, units, problem.initial, test, recipe=recipe, looked=test)
    untouched = float(judge(problem, units, problem.initial, test).accuracy.mean())
    assert found.course == (untouched, *(after(steps) for steps in (1, 2, 3)))
    assert found.device_calls == config.calls and len({*found.course}) > 1
    assert judge(problem, units, problem.initial, test, recipe=recipe).course == ()


def test_pulses_on_fewer_points_are_read_out_alike() -> None:
    """Fewer detunings cut the wings of the pulse, whose peak is the unit of amplitude."""
    torch.set_default_dtype(torch.float64)
    drives = random_drives(SHG().ports, 20, low=0.0, high=1.0, seed=0)
    kind, crystals = KINDS["shg"], [20_000, 20_001]

    def fleet(system: Any) -> Tensor:
        units = Population(system, kind.spread, 0.0).perturbed(crystals)
        return units(drives.expand(2, *drives.shape), {})

    twin = ThinSHG(window=PULSES)
    pairs = ((twin, ThinSHG()), (kind.hardware(twin), SHG(steps=10)))
    for fewer, usual in pairs:
        found, expected = fleet(fewer), fleet(usual)
        scale = (found * expected).sum() / found.square().sum()
        assert abs(scale - 1) < 4e-4
        torch.testing.assert_close(scale * found, expected, rtol=2e-5, atol=0)


in_ngspice = pytest.mark.skipif(shutil.which("ngspice") is None, reason="ngspice is not installed")


@in_ngspice
def test_a_run_in_ngspice_measures_held_out_units_and_none_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small(device="spice", units=1, labels=3, judged=5, full_epochs=1)
    simulated, samples = SpiceDevice._read, []

    def counting(device: Any, drive: Tensor, controls: Any) -> Any:
        samples.append(drive.shape[-2])
        return simulated(device, drive, controls)

    monkeypatch.setattr(SpiceDevice, "_read", counting)

    def run(**kept: bool) -> list[dict[str, Any]]:
        directory = RunDirectory(tmp_path / "run", config.to_json(), **kept)
        return meta_train(config, directory, Silent(), grid=ONE_RATE)

    rows, file = run(), sqlite3.connect(tmp_path / "run" / MEASUREMENTS)
    taken = file.execute("SELECT device, calls FROM measurements").fetchall()
    assert {unit for unit, _ in taken} == {"unit 20000, layer 0"}
    # Samples to adapt with, to judge on, of full training (which looks at what validates), and
    # random drives of the classical fit.
    looked = len(build(config).data.validation)
    assert {calls for _, calls in taken} == {3, 5, 32, looked, 6}
    assert sorted(samples) == sorted(calls for _, calls in taken)
    reached = {row["method"]: row["device_calls"] for row in rows}
    assert reached["meta-learned"] == reached["twin fitted by Gauss-Newton"] == config.calls == 6
    file.execute("UPDATE measurements SET seconds = 1000")
    file.commit()
    shutil.rmtree(tmp_path / "run" / "checkpoints")  # as if killed before the first was written
    samples.clear()
    assert run(resume=True) == rows and samples == []
    # Two steps took what they took when they were measured, and the little that they take now.
    courses = json.loads((tmp_path / "run" / "summary.json").read_text())["courses"]
    assert all(2000 < course["seconds"] < 2900 for course in courses.values())


@in_ngspice
def test_what_is_learned_on_is_simulated_unless_it_is_to_be_the_device() -> None:
    problem = build(small(device="spice", adapt_steps=1))
    archived = dataclasses.replace(problem, archive=Path("measurements.sqlite"))
    learning = archived.learning
    assert learning.config.device == "simulated" and learning.archive is None
    simulated = build(small(adapt_steps=1))
    found, expected = (
        each.fleet([7], "test").groups[0][0].measure(torch.ones(1, 2, 192), {})
        for each in (learning, simulated)
    )
    assert found.equal(expected) and found.abs().max() > 0
    config = dataclasses.replace(problem.config, learned_on="device")
    same = dataclasses.replace(archived, config=config)
    assert same.learning is same


@in_ngspice
def test_units_in_ngspice_are_taken_one_after_the_other() -> None:
    problem = build(small(device="spice", noise=0.0, adapt_steps=1))
    fleet = problem.fleet([20_000, 20_001], "test")
    drives = random_drives(fleet.groups[0][0].ports, 2, low=-1.0, high=1.0, seed=0)
    simulated = build(small(noise=0.0)).fleet([20_000, 20_001], "test")
    for unit, (device,) in enumerate(fleet.groups):
        ((same,),) = simulated.groups
        expected = same.measure(drives.expand(2, *drives.shape), {})[unit]
        error = (device.measure(drives, {}) - expected).norm() / expected.norm()
        assert error < 0.03
    first = uniform(problem, 2)
    learned = meta_step(problem, 2)(first, 0).learned
    assert all(value.isfinite().all() for value in optree.tree_leaves(learned))


def test_without_ngspice_nothing_is_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(FileNotFoundError, match="Install the package ngspice"):
        build(small(device="spice"))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"rule": 3}, TypeError, "`rule` must be a rule"),
        ({"loss": "cross entropy"}, TypeError, "`loss` must be a function, but got str"),
        ({"apply": 3}, TypeError, "`apply` must be a function, but got int"),
        ({"steps": 0}, ValueError, "`steps` must be an integer >= 1"),
        ({"adjoint": "full"}, TypeError, "`adjoint` must be one of metaphys.adjoint"),
    ],
)
def test_what_cannot_be_adapted_with_is_named(
    change: dict[str, Any], error: type[Exception], message: str
) -> None:
    given: dict[str, Any] = {
        "apply": lambda params, inputs: inputs @ params["w"],
        "params": {"w": torch.zeros(2, 2)},
        "inputs": torch.eye(2),
        "targets": torch.tensor([0, 1]),
        "rule": metaphys.sgd(lr=1.0),
        "steps": 1,
        "loss": cross_entropy,
    }
    with pytest.raises(error, match=message):
        adapt(**{**given, **change})


def test_places_may_be_words(tmp_path: Path) -> None:
    config = small(system="plate", judged=3)
    problem = build(config)
    file, output = str(tmp_path / "model.safetensors"), str(tmp_path / "controls.safetensors")
    save_model(file, config, uniform(problem, 0).learned)
    assert load_model(file)[0] == config
    assert adapt_unit(file, unit=20_000, output=output)["output"] == Path(output)
    run = RunDirectory(str(tmp_path / "run"), config.to_json())
    assert read_config(str(run.path))["config"] == config.to_json()
    with pytest.raises(FileNotFoundError, match=r"metrics\.csv"):
        read_metrics(f"{run.path}/metrics.csv")
    with pytest.raises(ValueError, match="a network that `metaphys train` wrote"):
        load_network(file)
