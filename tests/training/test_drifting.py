"""Units that drift: how they walk, what is believed of them, what keeps their networks at work."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.func import functional_call

from metaphys._runs import Advance, RunDirectory, Silent
from metaphys.nn import run_on
from metaphys.physics import Population, SimulatedDevice, random_drives
from metaphys.training._kinds import KINDS
from metaphys.training._loop import begin
from metaphys.training.drifting import Course, DriftConfig, DriftingUnits, Setting, build, drift
from metaphys.training.drifting import _following as following
from metaphys.training.drifting._courses import cost, rows
from metaphys.training.drifting._equalizing import Amplified, Equalizer
from metaphys.training.drifting._experiment import Experiment
from metaphys.training.drifting._methods import FineTuning, OnTwins, Untouched, lived, score
from metaphys.training.drifting._pictures import over_time
from metaphys.training.drifting._report import PICTURES, sentences, write_report
from metaphys.training.drifting._results import read_drift
from metaphys.training.drifting._training import of_the_first_day, stepped
from tests.training.blind import blind
from tests.training.runs import assert_stands_alone, replaced, text_of

UNITS = [20_000, 20_001]
TINY = DriftConfig(
    system="circuit",
    layers=2,
    units=2,
    intervals=3,
    calls=8,
    first_calls=12,
    steps=10,
    first_steps=3,
    interval_steps=2,
    walk_units=1,
    walk_intervals=2,
    judged=30,
    batch=10,
)


@pytest.fixture(autouse=True)
def single_precision() -> Any:
    torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="module", autouse=True)
def short_waveforms() -> Iterator[None]:
    """A pixel a sample: a third of the time."""
    with pytest.MonkeyPatch.context() as patch:
        short = dataclasses.replace(KINDS["circuit"], hold=lambda features: 1)
        patch.setitem(KINDS, "circuit", short)
        yield


@pytest.fixture(scope="module")
def setting(short_waveforms: None) -> Setting:
    torch.set_default_dtype(torch.float32)
    return build(TINY)


@pytest.fixture(scope="module")
def units(setting: Setting) -> DriftingUnits:
    return DriftingUnits(setting, UNITS)


# Units ------------------------------------------------------------------------------------------


def test_on_the_first_day_a_unit_is_that_of_the_population(
    setting: Setting, units: DriftingUnits
) -> None:
    for index, number in enumerate(UNITS):
        for layer in range(2):
            own = Population(setting.hardware, setting.spread, key=f"layer {layer}")
            there: Any = own.simulated(number)
            mismatch = units.on(0).mismatch
            for name in ("R1", "C", "temperature", "Bf"):
                found = getattr(mismatch, name)[2 * index + layer]
                assert float(found) == float(getattr(there.mismatch, name)), name


def test_a_walk_depends_on_the_unit_alone(setting: Setting, units: DriftingUnits) -> None:
    longer = dataclasses.replace(setting, config=dataclasses.replace(TINY, intervals=40))
    alone = DriftingUnits(longer, UNITS[1:])
    for day in (1, 3):
        here, there = units.on(day).mismatch, alone.on(day).mismatch
        assert here.C[2:].equal(there.C) and here.temperature[2:].equal(there.temperature)
        assert here.L.equal(units.on(0).mismatch.L)  # it stands still
        assert not here.C.equal(units.on(day - 1).mismatch.C)


def test_steps_of_the_walk_have_the_stated_size(setting: Setting) -> None:
    config = dataclasses.replace(TINY, intervals=60, walk=0.5)
    walking = dataclasses.replace(setting, config=config, walk={"temperature": 2.5})
    units = DriftingUnits(walking, range(20))
    places = torch.stack([units.on(day).mismatch.temperature for day in range(61)]).double()
    steps = places.diff(dim=0)
    # 2400 steps: their deviation is known to 1.4 %, their mean to 0.05.
    assert float(steps.std()) == pytest.approx(2.5, rel=0.06)
    assert float(steps.mean()) == pytest.approx(0, abs=0.2)
    assert float((steps[1:] * steps[:-1]).mean()) == pytest.approx(0, abs=0.6)  # no memory
    grown = (places[-1] - places[0]).std()
    assert float(grown) == pytest.approx(2.5 * 60**0.5, rel=0.4)


def test_the_factor_of_a_configuration_scales_the_walk() -> None:
    once, twice = build(TINY).walk, build(dataclasses.replace(TINY, walk=2.0)).walk
    assert twice == {name: 2 * step for name, step in once.items()}


def test_devices_are_the_layers_of_that_day(units: DriftingUnits) -> None:
    drive = torch.linspace(-1, 1, 64).expand(4, 64)
    fleet: Any = units.on(2)
    expected = fleet(drive.expand(4, 4, 64), {})[2:]  # unit 1
    for layer, device in enumerate(units.devices(2, 1, "a test")):
        found = device.measure(drive, {})
        noise = (found - expected[layer]).double()
        assert float(noise.std()) == pytest.approx(units.setting.sigma, rel=0.15)
        again = units.devices(2, 1, "a test")[layer].measure(drive, {})
        other = units.devices(2, 1, "another")[layer].measure(drive, {})
        assert again.equal(found) and not other.equal(found)


def test_what_is_measured_depends_on_unit_and_day(setting: Setting, units: DriftingUnits) -> None:
    drives, readouts = units.measured(1, 4)
    same, answered = DriftingUnits(setting, UNITS[1:]).measured(1, 4)
    assert drives[2:].equal(same)
    torch.testing.assert_close(readouts[2:], answered, rtol=1e-5, atol=1e-6)
    assert not units.measured(2, 4)[0].equal(drives)
    low, high = setting.limits
    assert low <= drives.min() and drives.max() <= high


# What is believed -------------------------------------------------------------------------------


def error(units: DriftingUnits, known: following.Followed, day: int) -> float:
    """How far the twins are off the units on a day, as a part of how far the nominal system is."""
    drives, _ = units.measured(0, 3)
    fleet: Any = units.on(day)
    readout, off = fleet(drives, {}), 0.0
    layers = units.setting.config.layers
    for index in range(len(units.numbers)):
        systems: list[Any] = following.twins(units.setting, known.on(day), index)
        for layer, system in enumerate(systems):
            place = index * layers + layer
            off += float((system(drives[place], {}) - readout[place]).square().sum())
    nominal: Any = units.setting.twin
    return (off / float((nominal(drives, {}) - readout).square().sum())) ** 0.5


@pytest.fixture(scope="module")
def known(setting: Setting, units: DriftingUnits) -> following.Followed:
    return followed(setting, units, following.filtering(setting, units, setting.walk))


def followed(setting: Setting, units: DriftingUnits, step: following.Step) -> following.Followed:
    state = following.begun(following.met(setting, units), TINY.intervals)
    for index in range(TINY.intervals):
        state = step(state, index)
    return state


def test_the_filter_follows_and_the_refit_comes_after_it(
    setting: Setting, units: DriftingUnits, known: following.Followed
) -> None:
    refit = followed(setting, units, following.refitting(setting, units))
    assert known.on(0).mean.equal(refit.on(0).mean)
    last = TINY.intervals
    stale = following.Followed(*(part[:1].expand_as(part) for part in known))
    assert error(units, known, last) < 0.1
    assert error(units, known, last) < error(units, refit, last) < error(units, stale, last)


def test_a_day_of_the_filter_depends_on_the_day_before_alone(
    setting: Setting, units: DriftingUnits, known: following.Followed
) -> None:
    again = following.filtering(setting, units, setting.walk)(known, 1)
    assert again.mean.equal(known.mean) and again.covariance.equal(known.covariance)


def test_a_learned_walk_is_near_the_true_one(setting: Setting) -> None:
    config = dataclasses.replace(TINY, walk_intervals=8, calls=12)
    longer = dataclasses.replace(setting, config=config)
    training = DriftingUnits(longer, [0])
    step = following.learning(longer, training, following.met(longer, training))
    found = following.named(longer, step(following.guess(longer), 0))
    # Sixteen steps tell a deviation to 18 %; temperature is partly taken for saturation current.
    assert found["C"] == pytest.approx(setting.walk["C"], rel=0.6)
    assert found["R1"] == pytest.approx(setting.walk["R1"], rel=0.8)


# Methods ----------------------------------------------------------------------------------------


def test_steps_are_those_of_adam_on_the_loss(setting: Setting) -> None:
    nominal, loop = [setting.twin] * 2, begin(setting.initial, 1)
    for index in range(3):
        loop = stepped(setting, loop, nominal, 0.01, "a test", index)
    params = {n: v.clone().requires_grad_() for n, v in setting.initial.items()}
    optimizer = torch.optim.Adam(params.values(), lr=0.01)
    for index in range(3):
        inputs, targets = setting.batch(10, "a test", index)
        with run_on(setting.network, *nominal):
            logits = functional_call(setting.network, params, (inputs,))
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(logits, targets).backward()
        optimizer.step()
    for name, value in params.items():
        torch.testing.assert_close(loop.learned[name], value.detach(), rtol=1e-4, atol=1e-5)
        assert not loop.learned[name].equal(setting.initial[name])


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, int]]:
    """Device calls by what they were made for."""
    found: dict[str, int] = {}
    plain = DriftingUnits.devices

    def devices(self: DriftingUnits, day: int, index: int, *key: object) -> Any:
        made = plain(self, day, index, *key)
        for device in made:
            kept = device.measure

            def counted(drive: Any, controls: Any, kept: Any = kept) -> Any:
                found[str(key[0])] = found.get(str(key[0]), 0) + len(drive)
                return kept(drive, controls)

            monkeypatch.setattr(device, "measure", counted)
        return made

    monkeypatch.setattr(DriftingUnits, "devices", devices)
    yield found


@pytest.mark.parametrize("steps", [1, 2, 3])  # of 4 drives a layer, three steps leave one over
def test_fine_tuning_takes_the_calls_of_an_interval(
    setting: Setting, units: DriftingUnits, calls: dict[str, int], steps: int
) -> None:
    known = following.blank(setting, units)
    method = FineTuning(known, lr=0.01, steps=steps)
    loop = method.adapted(begin(setting.initial, 1), units, 0, 1)
    assert calls == {"tuning": cost("fine-tuning", TINY, steps)[1]}
    assert calls["tuning"] == {1: 8, 2: 8, 3: 6}[steps]
    assert any(not value.equal(setting.initial[name]) for name, value in loop.learned.items())


def test_a_life_is_judged_on_the_units_of_each_day(
    setting: Setting,
    units: DriftingUnits,
    known: following.Followed,
    calls: dict[str, int],
) -> None:
    found = lived(setting, units, 1, Untouched(known.on(0)), setting.initial)
    test = setting.data.test
    assert calls == {"judging": 2 * (TINY.intervals + 1) * len(test)}
    devices = units.devices(2, 1, "judging")
    assert float(found[2]) == setting.accuracy(setting.initial, devices, test)


def test_training_on_the_twin_of_today_helps_where_the_first_days_controls_do_not(
    setting: Setting, units: DriftingUnits
) -> None:
    config = dataclasses.replace(TINY, interval_steps=40)
    far = dataclasses.replace(setting, config=config, walk={"temperature": 20.0, "R1": 0.1})
    drifting = DriftingUnits(far, UNITS)
    known = followed(far, drifting, following.filtering(far, drifting, far.walk))
    systems = following.twins(far, known.on(0), 0)
    params = begin(setting.initial, 1)
    for index in range(60):
        params = stepped(far, params, systems, 0.02, "start", index)
    losses = []
    for method in (Untouched(known.on(0)), OnTwins(known)):
        loop = method.adapted(params, drifting, 0, 3)
        physics = following.twins(far, known.on(3), 0)
        logits = far.logits(loop.learned, far.data.train.inputs[:200], physics)
        losses.append(
            float(torch.nn.functional.cross_entropy(logits, far.data.train.targets[:200]))
        )
    assert losses[1] < losses[0] - 0.05


def test_training_that_diverges_scores_nothing(setting: Setting, units: DriftingUnits) -> None:
    known = following.blank(setting, units)
    broken = {name: torch.full_like(v, torch.nan) for name, v in setting.initial.items()}
    assert score(setting, units, 0, FineTuning(known, 0.01, 1), broken) == 0
    fine = score(setting, units, 0, FineTuning(known, 0.001, 1), setting.initial)
    assert 0 < fine < 1


def test_the_first_day_is_trained_on_its_own_twins(setting: Setting) -> None:
    found = of_the_first_day(setting, setting.initial, [setting.twin] * 2, 7)
    assert all(value.isfinite().all() for value in found.values())
    assert any(not value.equal(setting.initial[name]) for name, value in found.items())
    none = dataclasses.replace(setting, config=dataclasses.replace(TINY, first_steps=0))
    same = of_the_first_day(none, setting.initial, [setting.twin] * 2, 7)
    assert all(value.equal(setting.initial[name]) for name, value in same.items())


# Readings brought back --------------------------------------------------------------------------


@pytest.fixture
def equalized(setting: Setting) -> Setting:
    return dataclasses.replace(setting, config=dataclasses.replace(TINY, equalize=True))


def test_readings_are_brought_back_to_those_of_the_nominal_system(equalized: Setting) -> None:
    nominal, drives = equalized.twin, 2 * torch.rand(5, equalized.twin.ports.drive) - 1
    far = torch.linspace(0.02, 3, nominal.ports.readout)
    dim = Amplified(nominal, far)
    quiet = dataclasses.replace(equalized, sigma=1e-9)
    one = Equalizer(quiet, [dim, nominal])
    expected = nominal(drives, {})
    for twin in one.twins:
        torch.testing.assert_close(twin(drives, {}), expected, rtol=1e-4, atol=1e-6)
    (device, _) = one.devices([SimulatedDevice(dim), SimulatedDevice(nominal)])
    torch.testing.assert_close(device.measure(drives, {}), expected, rtol=1e-4, atol=1e-6)
    assert device.calls == 5


def test_a_reading_that_went_out_is_not_amplified_beyond_the_noise(equalized: Setting) -> None:
    nominal = equalized.twin
    out = Amplified(nominal, torch.zeros(nominal.ports.readout))
    (twin,) = Equalizer(equalized, [out]).twins
    assert isinstance(twin, Amplified) and bool((twin.gain > 1).all())
    low, high = equalized.limits
    drives = random_drives(nominal.ports, 256, low=low, high=high)
    size = nominal(drives, {}).square().mean(0).sqrt()
    # What is noise alone has the nominal size then, up to the noise itself.
    expected = (size.square() + equalized.sigma**2).sqrt()
    torch.testing.assert_close(twin.gain * equalized.sigma, expected)


def _gain(twin: Any) -> torch.Tensor:
    return twin.gain


def test_without_equalizing_nothing_is_multiplied(setting: Setting) -> None:
    dim = Amplified(setting.twin, torch.full((setting.twin.ports.readout,), 0.1))
    assert Equalizer(setting, [dim]).twins == [dim]
    device = SimulatedDevice(dim)
    assert Equalizer(setting, [dim]).devices([device]) == [device]


def test_the_filter_brings_back_by_today_and_others_by_the_first_day(
    equalized: Setting, known: following.Followed
) -> None:
    drifting, last = DriftingUnits(equalized, UNITS), TINY.intervals
    first, today = (following.twins(equalized, known.on(day), 1) for day in (0, last))
    expected = {OnTwins(known): today}
    expected |= {
        method: first for method in (Untouched(known.on(0)), FineTuning(known.on(0), 1, 1))
    }
    for method, systems in expected.items():
        gains = [twin.gain for twin in method.equalizer(drifting, 1, last).twins]  # type: ignore[attr-defined]
        own = [twin.gain for twin in Equalizer(equalized, systems).twins]  # type: ignore[attr-defined]
        assert all(one.equal(other) for one, other in zip(gains, own, strict=True))
        assert float((gains[0] - 1).abs().max()) > 1e-3


# Runs -------------------------------------------------------------------------------------------


class Stopping:
    """Progress that stops the run in a phase, after so many steps."""

    def __init__(self, phase: str, after: int) -> None:
        self.where, self.after = phase, after

    @contextmanager
    def phase(self, name: str, steps: int) -> Iterator[Advance]:
        """As :meth:`metaphys.training.Progress.phase`."""

        def advance(done: int) -> None:
            if name == self.where and done == self.after:
                raise KeyboardInterrupt

        yield advance


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    torch.set_default_dtype(torch.float32)
    path = tmp_path_factory.mktemp("drift") / "whole"
    found = drift(TINY, RunDirectory(path, TINY.to_json()), Silent())
    return path, found


def test_a_run_has_a_row_for_each_method_unit_and_interval(
    finished: tuple[Path, list[dict[str, Any]]],
) -> None:
    _, found = finished
    methods = ["filter", "no adaptation", "fine-tuning", "ridge refit"]
    places = [(row["method"], row["unit"], row["interval"]) for row in found]
    assert places == [(m, unit, day) for m in methods for unit in UNITS for day in range(4)]
    first = {row["accuracy"] for row in found if row["interval"] == 0 and row["unit"] == UNITS[0]}
    assert len(first) == 1  # all methods begin as the same network
    spent = {
        (row["method"], row["labels"], row["device_calls"]) for row in found if row["interval"]
    }
    assert spent == {*zip(methods, (0, 0, 4, 0), (8, 0, 8, 8))}


@pytest.mark.parametrize(
    ("phase", "after"),
    [("learning the walk", 1), ("first day", 1), ("following by the filter", 2), ("filter", 1)],
)
def test_a_run_that_was_stopped_ends_the_same(
    finished: tuple[Path, list[dict[str, Any]]], tmp_path: Path, phase: str, after: int
) -> None:
    whole, found = finished
    path = tmp_path / "parts"
    # What came before is not computed again.
    shutil.copytree(whole, path)
    (path / "metrics.csv").unlink()
    names = ["learning-the-walk", "first-day", "following-by-the-filter", "filter"]
    for name in names[names.index(phase.replace(" ", "-")) :]:
        for file in (path / "checkpoints").glob(f"{name}.*"):
            file.unlink()
    with pytest.raises(KeyboardInterrupt):
        drift(TINY, RunDirectory(path, TINY.to_json(), resume=True), Stopping(phase, after))
    assert drift(TINY, RunDirectory(path, TINY.to_json(), resume=True), Silent()) == found
    assert (path / "metrics.csv").read_bytes() == (whole / "metrics.csv").read_bytes()


def test_a_finished_run_is_read_back(finished: tuple[Path, list[dict[str, Any]]]) -> None:
    path, found = finished
    run = read_drift(path)
    assert run.config == TINY and rows(run.courses, TINY, run.tuned["steps"]) == found
    assert set(run.summary["walk"]["learned"]) == {"R1", "C", "temperature"}
    assert run.tuned in run.summary["trials"] and len(run.summary["trials"]) == 8


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("summary.json", "{}", "`summary.json` must be with"),
        ("metrics.csv", "method\n", "`metrics.csv` must be with the columns"),
        ("config.json", "{}", "must be a directory that holds a run of metaphys"),
    ],
)
def test_damaged_runs_are_refused_by_name(
    finished: tuple[Path, list[dict[str, Any]]],
    tmp_path: Path,
    name: str,
    content: str,
    message: str,
) -> None:
    copy = shutil.copytree(finished[0], tmp_path / "copy")
    (copy / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        read_drift(copy)


def test_a_lost_row_is_missed(finished: tuple[Path, list[dict[str, Any]]], tmp_path: Path) -> None:
    copy = shutil.copytree(finished[0], tmp_path / "copy")
    lines = (copy / "metrics.csv").read_text().splitlines()
    (copy / "metrics.csv").write_text("\n".join(lines[:5] + lines[6:]) + "\n")
    with pytest.raises(ValueError, match="one row for every method, unit and interval"):
        read_drift(copy)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("walk",), None),
        (("walk", "true", "C"), "far"),
        (("walk", "learned"), []),
        (("trials",), []),
        (("trials", 0, "accuracy"), None),
        (("trials", 0, "steps"), 0.5),
    ],
)
def test_figures_that_cannot_be_shown_are_named(
    tmp_path: Path, place: tuple[Any, ...], value: Any
) -> None:
    path = made_up(tmp_path / "run", config=DriftConfig(system="circuit"))
    replaced(path / "summary.json", *place, by=value)
    with pytest.raises(ValueError, match=rf"^`summary.json` must be .*{place[0]}.*--resume"):
        read_drift(path)


# The report -------------------------------------------------------------------------------------


def made_up(path: Path, *, config: DriftConfig) -> Path:
    """A finished run whose figures are known."""
    found = rows(
        [
            Course("filter", (1, 2), [[1.0, 0.9, 0.7], [0.5, 0.5, 0.4]]),
            Course("no adaptation", (1, 2), [[1.0, 0.6, 0.2], [0.5, 0.3, 0.1]]),
        ],
        config,
        5,
    )
    run = RunDirectory(path, config.to_json())
    run.write_metrics(found, tuple(found[0]))
    walk = {"C": 0.05}
    trials = [{"lr": 0.003, "steps": 1, "accuracy": 0.2}, {"lr": 0.01, "steps": 5, "accuracy": 0.4}]
    run.write_json("summary.json", {"walk": {"true": walk, "learned": walk}, "trials": trials})
    return path


def test_the_report_says_what_was_kept(tmp_path: Path) -> None:
    path = made_up(tmp_path / "run", config=DriftConfig(system="circuit"))
    page = write_report([path])
    said = text_of(page)
    for words in (
        "the filter kept 85.0 % of the accuracy of the first day (75.0 %), mean of 2 units, with "
        "50 device calls and no label in an interval.",
        "Beside it: no adaptation 40.0 %.",
        "Its worst interval, over all units, kept 73.3 %",
        "its worst unit, over all intervals, 80.0 %",
        "5 steps of Adam at 0.01",
    ):
        assert words in said, words
    assert page == path / "report.html"
    assert_stands_alone(page, PICTURES)


def test_a_short_run_is_said_to_mean_nothing(tmp_path: Path) -> None:
    config = DriftConfig(system="circuit").quick()
    run = read_drift(made_up(tmp_path / "run", config=config))
    (sentence,) = sentences(run)
    assert "quick run" in sentence


def test_the_picture_has_a_curve_for_each_method_and_unit(tmp_path: Path) -> None:
    run = read_drift(made_up(tmp_path / "run", config=DriftConfig(system="circuit")))
    (axes,) = over_time(run.courses).axes
    drawn: list[Any] = [list(np.asarray(line.get_ydata())) for line in axes.lines]
    assert drawn[:2] == [pytest.approx([100, 90, 70]), pytest.approx([50, 50, 40])]
    assert drawn[2:] == [pytest.approx([75, 70, 55]), pytest.approx([75, 45, 15])]
    assert axes.get_legend_handles_labels()[1] == ["filter", "no adaptation"]


def test_reports_of_two_runs_stand_one_after_the_other(tmp_path: Path) -> None:
    paths = [
        made_up(tmp_path / system, config=DriftConfig(system=system))  # type: ignore[arg-type]
        for system in ("circuit", "plate")
    ]
    said = text_of(write_report(paths, tmp_path / "both.html"))
    assert said.index("2 layers of circuit") < said.index("2 layers of plate")
    assert (tmp_path / "pictures" / "2-over-time.svg").exists()


def test_nothing_is_learned_or_tuned_on_what_judges(
    setting: Setting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(Experiment.trials.__globals__, "RATES", (0.01,))
    unseen = dataclasses.replace(setting, data=blind(setting.data))
    found = Experiment(unseen, RunDirectory(tmp_path / "run", {}), Silent())
    assert max(found.tuned.numbers) < 10_000 and list(found.judged.numbers) == UNITS
    start, known = found.in_silico(), found.met("measuring training units", found.tuned)
    walk, trials = found.walk(known), found.trials(start, known)
    assert all(each > 0 for each in walk.values())
    assert len(trials) == 2 and max(trial["accuracy"] for trial in trials) > 0


# Configuration ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"system": "oscillators"}, "`system` must be one of plate, circuit, shg"),
        ({"units": 0}, "`units` must be >= 1, but got 0."),
        ({"walk_units": 10_001}, "`walk_units` must be from 1 to 10,000, but got 10001."),
        ({"walk": 0.0}, "`walk` must be > 0, finite, but got 0.0."),
        ({"noise": float("nan")}, "`noise` must be >= 0, finite, but got nan."),
        ({"calls": 1}, "`calls` must be >= 2, a call of each layer, but got 1."),
        ({"data": "vowels"}, "`data_root` must be the folder that holds the files of vowels"),
    ],
)
def test_a_configuration_is_refused_by_name(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(DriftConfig(), **change)


def test_a_configuration_is_read_back_and_quick_is_short() -> None:
    config = DriftConfig(system="shg", data="vowels", data_root=Path("there"))
    assert DriftConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
    assert config.quick().short and not config.short
    assert config.quick().quick() == config.quick()
