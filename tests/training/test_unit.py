"""Training one unit: the machine, what a step costs, stopping and going on, what is stored."""

from __future__ import annotations

import dataclasses
import json
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.stats import binomtest

import metaphys
from metaphys._runs import Silent, load_tensors, save_tree
from metaphys.nn import InSilico, run_on, with_excess
from metaphys.physics import SHG, Ports, SpiceDevice, WithNoise, WithRetries
from metaphys.rl import Config as RLConfig
from metaphys.training import (
    DriftConfig,
    RecalibrationConfig,
    RunDirectory,
    TrainConfig,
    adapt_unit,
    cross_entropy,
    load_model,
    load_network,
    read_metrics,
    train,
)
from metaphys.training._command import command_of
from metaphys.training._kinds import scaled, within
from metaphys.training._wire import Wire
from metaphys.training.unit import _report
from metaphys.training.unit._findings import sentences, wilson
from metaphys.training.unit._learning import accuracy, learning_step, on_unit, start
from metaphys.training.unit._machine import batch, build_machine
from metaphys.training.unit._report import write_report
from metaphys.training.unit._results import TrainedRun, read_trained
from tests.training.runs import assert_stands_alone, finished, replaced

TINY = TrainConfig(system="plate", steps=4, batch=4, judged=20, looks=2, spsa_directions=2)
HAS_NGSPICE = shutil.which("ngspice") is not None


@pytest.fixture(autouse=True)
def float32(laboratory: None) -> None:
    """A person's default dtype."""
    torch.set_default_dtype(torch.float32)


def tiny(**changes: Any) -> TrainConfig:
    return dataclasses.replace(TINY, **changes)


def run(path: Path, config: TrainConfig = TINY, progress: Any = None, **kept: bool) -> list[Any]:
    return train(config, RunDirectory(path, config.to_json(), **kept), progress or Silent())


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; whoever changes it copies it first."""
    torch.set_default_dtype(torch.float32)
    path = tmp_path_factory.mktemp("trained") / "run"
    run(path)
    return path


# --------------------------------------------------------------------------------- the machine


@pytest.mark.parametrize(
    ("system", "layers", "parameters", "drive"),
    [
        ("plate", 2, (192 * 2 + 192 * 3, 1), 192),
        ("circuit", 1, (192 * 2, 1), 192),
        ("shg", 2, (2 * 50, 2 + 10), 100),
        ("oscillators", 1, (74 * 74 + 74, 0), 74),
    ],
)
def test_every_system_makes_a_machine(
    system: Any, layers: int, parameters: tuple[int, int], drive: int
) -> None:
    if system == "shg":  # 64 pixels do not fit its 50 slots
        config = tiny(system=system, layers=layers, pool=2)
    else:
        config = tiny(system=system, layers=layers)
    machine = build_machine(config)
    assert machine.counted() == parameters
    assert [device.ports.drive for device in machine.bare] == [drive] * layers
    classes = on_unit(machine, machine.initial, machine.data.test, "here")
    assert classes.shape == (20,)
    assert [device.calls for device in machine.bare] == [20] * layers


def test_a_unit_is_the_seeds_and_none_with_a_spread_of_zero() -> None:
    one, other = (build_machine(tiny(unit=unit)) for unit in (20_000, 20_001))
    same, none = build_machine(TINY), build_machine(tiny(spread=0.0))
    x = torch.rand(2, 192)
    for layer in range(2):
        readout = one.bare[layer].measure(x, {})
        assert readout.equal(same.bare[layer].measure(x, {}))
        assert not readout.equal(other.bare[layer].measure(x, {}))
        nominal = none.bare[layer].measure(x, {})
        torch.testing.assert_close(nominal, none.twins[layer](x, {}), rtol=1e-4, atol=1e-6)
    assert not one.bare[0].measure(x, {}).equal(one.bare[1].measure(x, {}))


def test_noise_has_the_size_that_is_asked_for_and_depends_on_its_key() -> None:
    machine = build_machine(tiny(noise=0.05, spread=0.0))
    x = 2 * torch.rand(400, 192) - 1
    clean = machine.bare[0].measure(x, {})
    first, again, other = (machine.devices(*key)[0].measure(x, {}) for key in ("a", "a", "b"))
    assert first.equal(again)
    assert not first.equal(other)
    # 400 x 192 normal numbers: their deviation is known to 0.3 %; that of the readout, from 32
    # other drives, to about 1 %.
    noise = (first - clean).std() / clean.std()
    assert abs(float(noise) - 0.05) < 0.05 * 0.05


def test_the_unit_of_shg_depletes_and_its_twin_does_not() -> None:
    machine = build_machine(tiny(system="shg", pool=2, spread=0.0))
    assert machine.exact is not None
    assert isinstance(machine.exact[0], SHG)
    assert machine.twins[0].ports == machine.exact[0].ports
    x = torch.rand(3, 100)
    gap = (machine.exact[0](x, {}) - machine.twins[0](x, {})).norm()
    assert gap > 0.01 * machine.twins[0](x, {}).norm()


@pytest.mark.skipif(not HAS_NGSPICE, reason="ngspice is not installed")
def test_spice_measures_the_unit_that_is_simulated_otherwise() -> None:
    config = tiny(system="circuit", spread=1.0)
    simulated, spice = build_machine(config), build_machine(tiny(**{
        **dataclasses.asdict(config), "device": "spice"}))  # fmt: skip
    assert isinstance(spice.bare[0], WithRetries)
    assert isinstance(spice.bare[0].device, SpiceDevice)
    assert spice.exact is None
    assert simulated.exact is not None
    x = 4 * torch.rand(2, 192) - 2
    measured, unit = spice.bare[0].measure(x, {}), simulated.exact[0](x, {})
    error = (measured - unit).norm() / unit.norm()
    twin = (measured - spice.twins[0](x, {})).norm() / unit.norm()
    assert error < 0.02 < twin  # the model's own gap, docs/physics.md, against the spread's


def test_a_wire_repeats_or_averages() -> None:
    x = torch.arange(6.0).reshape(2, 3)
    assert Wire(Ports(3, {}, 3))(x, {}) is x
    assert Wire(Ports(3, {}, 6))(x, {}).equal(x.repeat_interleave(2, -1))
    assert Wire(Ports(3, {}, 1))(x, {}).equal(x.mean(-1, keepdim=True))


def test_spreads_are_scaled_and_flags_kept() -> None:
    spread = metaphys.physics.OscillatorSpread(coupling=0.4, gain=0.2, per_oscillator=True)
    half = scaled(spread, 0.5)
    assert half == metaphys.physics.OscillatorSpread(coupling=0.2, gain=0.1, per_oscillator=True)
    assert scaled(metaphys.physics.SHGSpread(dk0=2.0), 0.0) == metaphys.physics.SHGSpread()


def test_inserted_levels_stay_within_the_shaper() -> None:
    outside = torch.tensor([-0.5, 0.5, 1.5])
    assert within("layers.0.controls.inserted", outside).tolist() == [0.0, 0.5, 1.0]
    assert within("layers.0.controls.scale", outside).equal(outside)


# ---------------------------------------------------------------------------------- the steps


@pytest.mark.parametrize(
    ("rule", "calls"),
    [("pat", 4 * 4 * 2), ("in-silico", 0), ("spsa", 2 * 2 * 4 * 4 * 2), ("dfa", 4 * 4 * 2)],
)
def test_what_each_rule_costs_and_who_is_compared(tmp_path: Path, rule: Any, calls: int) -> None:
    rows = run(tmp_path / "run", tiny(rule=rule))
    assert rows[0]["method"] == rule
    assert rows[0]["device_calls"] == calls
    assert all(row["device_calls"] == 0 for row in rows[1:])
    others = ["linear classifier", "in silico", "exact gradient", "physics removed"]
    assert [r["method"] for r in rows[1:]] == [n for n in others if (rule, n) != (
        "in-silico", "in silico")]  # fmt: skip
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["digital_parameters"] == (1 + 110 if rule == "dfa" else 1)


def test_a_step_is_adam_on_the_rules_gradient() -> None:
    machine = build_machine(tiny(rule="in-silico"))
    rule = InSilico(machine.network, machine.twins)
    step = learning_step(machine, "in-silico", lambda devices: rule)
    moved = step(start(machine.initial, 4), 0).loop.learned
    x, y = batch(machine.data.train, 4, 0, "batch", 0)
    params = [value.clone().requires_grad_() for value in machine.initial.values()]
    with run_on(machine.network, *machine.twins):
        out = torch.func.functional_call(machine.network, dict(zip(machine.initial, params)), (x,))
    torch.nn.functional.cross_entropy(out, y).backward()
    torch.optim.Adam(params, lr=TINY.lr).step()
    torch.testing.assert_close(list(moved.values()), [p.detach() for p in params])


def test_training_on_the_unit_lowers_the_loss_there() -> None:
    machine = build_machine(tiny(system="circuit", layers=1, steps=30, batch=32))
    rule = InSilico(machine.network, machine.twins)
    step = learning_step(machine, "in-silico", lambda devices: rule)
    state = start(machine.initial, 30)
    for index in range(30):
        state = step(state, index)
    losses = state.loop.losses
    assert losses[-5:].mean() < losses[:5].mean() - 0.1


# ------------------------------------------------------------------------- twins that are fitted

FITTED = dataclasses.replace(
    TINY, system="circuit", layers=1, twin="fitted", twin_calls=2, spread=1.0, noise=1e-3
)


def test_a_fitted_twin_is_nearer_and_its_calls_are_counted(tmp_path: Path) -> None:
    rows = run(tmp_path / "run", FITTED)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    found = summary["twin"]
    assert found["calls"] == 2 + 5
    # Seen: 1.5 % before. After, noise of 0.1 % of the readout's deviation is nearly all there is.
    assert found["before"][0] > 0.01
    assert found["after"][0] < 0.002
    assert rows[0]["device_calls"] == 4 * 4 + 7
    assert [row["method"] for row in rows][2:4] == ["in silico", "in silico on the fitted twin"]
    # What the report shows of a sample is the fitted twin, too.
    assert summary["way"]["layers"][0]["error"] < 0.005


def test_training_in_silico_on_the_fitted_twin_has_the_nominal_one_beside_it(
    tmp_path: Path,
) -> None:
    rows = run(tmp_path / "run", dataclasses.replace(FITTED, rule="in-silico"))
    assert [row["method"] for row in rows] == [
        "in-silico", "linear classifier", "in silico", "exact gradient", "physics removed"
    ]  # fmt: skip
    assert rows[0]["device_calls"] == 7  # nothing but the fit measures
    curves = json.loads((tmp_path / "run" / "curves.json").read_text())
    assert curves["in-silico"]["loss"] != curves["in silico"]["loss"]


def test_interrupted_in_the_fit_it_is_not_measured_twice(tmp_path: Path) -> None:
    config = dataclasses.replace(FITTED, layers=2)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", config, Stopping("fitting the twins", 1))
    whole = run(tmp_path / "whole", config)
    assert run(tmp_path / "parts", config, resume=True) == whole
    assert whole[0]["device_calls"] == 4 * 4 * 2 + 2 * 7
    ours, theirs = (
        load_tensors(tmp_path / name / "checkpoints" / "twins.safetensors")
        for name in ("parts", "whole")
    )
    assert ours.keys() == theirs.keys()
    assert all(ours[name].equal(value) for name, value in theirs.items())


def test_a_report_says_what_the_fit_brought(tmp_path: Path) -> None:
    run(tmp_path / "run", FITTED)
    found = read_trained(tmp_path / "run")
    longer = dataclasses.replace(found, config=dataclasses.replace(FITTED, steps=500))
    said = " ".join(sentences(longer))
    assert "These 7 calls are among those above" in said
    assert "Trained on the fitted twin alone and moved to the unit it reached" in said
    assert "the fitted twin&#39;s derivatives" in write_report([found.path], tmp_path).read_text()


# ---------------------------------------------------------------------- runs, stopped and not


def test_a_run_leaves_its_files_and_they_agree(trained: Path) -> None:
    rows = read_metrics(trained / "metrics.csv")
    summary = json.loads((trained / "summary.json").read_text())
    table = torch.tensor(summary["confusion"])
    assert table.sum() == summary["judged"] == 20
    assert abs(float(table.diagonal().sum()) / 20 - rows[0]["accuracy"]) < 1e-6
    curves = json.loads((trained / "curves.json").read_text())
    assert curves["pat"]["look_step"] == [2, 4]
    assert set(curves) == {"pat", "in silico", "exact gradient", "physics removed"}
    assert [len(layer["device"]) for layer in summary["way"]["layers"]] == [192, 192]
    assert len(summary["way"]["logits"]) == 10


def test_a_stored_network_is_the_one_that_was_judged(trained: Path) -> None:
    config, machine, params = load_network(trained / "network.safetensors")
    assert config == TINY
    classes = on_unit(machine, params, machine.data.test, "test")
    found = accuracy(classes, machine.data.test)
    assert abs(found - read_metrics(trained / "metrics.csv")[0]["accuracy"]) < 1e-6
    assert any(not params[name].equal(value) for name, value in machine.initial.items())


class Stopping:
    """Progress that interrupts at some step of a phase."""

    def __init__(self, phase: str, at: int) -> None:
        self.named, self.at = phase, at

    @contextmanager
    def phase(self, name: str, steps: int) -> Any:
        """As Progress.phase."""

        def advance(done: int) -> None:
            if (name, done) == (self.named, self.at):
                raise KeyboardInterrupt

        yield advance


@pytest.mark.parametrize(("phase", "at"), [("pat", 1), ("pat", 3), ("exact gradient", 2)])
def test_interrupted_anywhere_a_run_ends_with_the_same_bits(
    trained: Path, tmp_path: Path, phase: str, at: int
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", progress=Stopping(phase, at))
    assert not (tmp_path / "run" / "metrics.csv").exists()
    before = json.loads((tmp_path / "run" / "seconds.json").read_text())
    run(tmp_path / "run", resume=True)
    after = json.loads((tmp_path / "run" / "summary.json").read_text())["seconds"]
    assert before.keys() <= after.keys() and before[phase] <= after[phase]
    for name in ("metrics.csv", "curves.json"):
        assert (tmp_path / "run" / name).read_bytes() == (trained / name).read_bytes()
    ours, theirs = (load_tensors(p / "network.safetensors") for p in (tmp_path / "run", trained))
    assert all(ours[name].equal(theirs[name]) for name in theirs)


@pytest.mark.parametrize("rule", ["spsa", "dfa"])
def test_what_has_no_twin_goes_on_the_same_too(tmp_path: Path, rule: Any) -> None:
    config = tiny(rule=rule, layers=1)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", config, Stopping(rule, 2))
    assert run(tmp_path / "parts", config, resume=True) == run(tmp_path / "whole", config)


def test_what_leaves_the_range_costs_in_the_rule_and_in_each_baseline(tmp_path: Path) -> None:
    given: dict[str, Any] = {"lr": 0.3, "steps": 8, "rule": "in-silico", "spread": 0.0}
    configs = [tiny(penalty=penalty, **given) for penalty in (0.0, 1000.0)]
    for config in configs:
        run(tmp_path / str(config.penalty), config)
    free, costly = (read_trained(tmp_path / str(config.penalty)) for config in configs)
    # The first loss is before any step: what the penalty adds is the start's own excess.
    machine = build_machine(configs[0])
    inputs, _ = batch(machine.data.train, 4, 0, "batch", 0)
    with torch.no_grad():
        excess = float(with_excess(machine.network, inputs)[1])
    for method in ("in-silico", "exact gradient"):
        added = costly.curves[method]["loss"][0] - free.curves[method]["loss"][0]
        assert added == pytest.approx(1000 * excess, rel=1e-4)
    wired = "physics removed"
    assert costly.curves[wired]["loss"][0] > free.curves[wired]["loss"][0] + 0.01
    assert len(free.summary["excess"]) == 2
    assert max(costly.summary["excess"]) < 0.7 * max(free.summary["excess"])
    assert "costs 1000 times" in " ".join(sentences(_longer(costly)))


def _longer(run: TrainedRun) -> TrainedRun:
    """The same run, as one whose figures mean something."""
    return dataclasses.replace(run, config=dataclasses.replace(run.config, steps=1000))


def test_a_loss_that_is_not_finite_stops(tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError, match="`loss` must be finite"):
        run(tmp_path / "run", tiny(lr=1e30))
    assert (tmp_path / "run" / "checkpoints" / "pat.safetensors").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"system": "oscillators", "layers": 1},
        {"system": "plate"},
        {"system": "circuit", "rule": "dfa"},
        {"system": "shg", "pool": 2, "layers": 1},
    ],
    ids=lambda changes: changes["system"],
)
def test_what_was_trained_is_a_start_that_adapt_takes(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    config = tiny(spread=1.0, noise=0.03, **changes)
    run(tmp_path / "run", config)
    other, problem, learned = load_model(tmp_path / "run" / "model.safetensors")
    _, machine, params = load_network(tmp_path / "run" / "network.safetensors")
    assert all(learned["start"][name].equal(value) for name, value in params.items())
    assert [p.noise for p in problem.populations] == pytest.approx(machine.sigma)
    # The unit of a seed is the same one for both commands.
    bare = dataclasses.replace(problem, config=dataclasses.replace(other, attempts=1))
    (devices,) = bare.fleet([config.unit]).groups
    for theirs, ours in zip(devices, machine.bare, strict=True):
        x = torch.rand(1, 2, ours.ports.drive)
        controls = machine.twins[0].init_controls()
        while isinstance(theirs, WithNoise):
            theirs = theirs.device
        torch.testing.assert_close(
            theirs.measure(x, controls)[0], ours.measure(x[0], controls), rtol=1e-4, atol=1e-5
        )
    adapted = adapt_unit(tmp_path / "run" / "model.safetensors", 20_007, judged=20)
    assert adapted["device_calls"] == other.calls


# ------------------------------------------------------------------------------- the options


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"system": "laser"}, "`system` must be one of plate, circuit, shg, oscillators"),
        ({"device": "fpga"}, "`device` must be one of simulated, spice"),
        ({"rule": "magic"}, "`rule` must be one of pat"),
        ({"data": "cats"}, "`data` must be one of"),
        ({"device": "spice"}, "`system` must be circuit where the device is spice"),
        ({"system": "oscillators", "rule": "dfa"}, "`rule` must be pat, in-silico or spsa"),
        ({"data": "vowels"}, "`data_root` must be the folder that holds the files of vowels"),
        ({"rule": "spsa", "twin": "fitted"}, "`twin` must be nominal for spsa"),
        ({"system": "oscillators", "twin": "fitted"}, "`twin` must be nominal for oscillators"),
        ({"twin": "fitted", "spread": 0.0}, "`spread` must be > 0 where the twin is fitted"),
        ({"twin_calls": 0}, "`twin_calls` must be >= 1"),
        ({"steps": 0}, "`steps` must be >= 1"),
        ({"spread": -1.0}, "`spread` must be >= 0"),
        ({"noise": float("nan")}, "`noise` must be >= 0"),
        ({"lr": 0.0}, "`lr` must be > 0"),
        ({"lr": float("inf")}, "`lr` must be > 0, finite"),
        ({"spread": float("inf")}, "`spread` must be >= 0, finite"),
        ({"penalty": -1.0}, "`penalty` must be >= 0"),
        ({"system": "oscillators", "penalty": 1.0}, "`penalty` must be 0 for oscillators"),
    ],
)
def test_options_are_refused_by_name(changes: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny(**changes)


def test_data_that_do_not_fit_a_system_are_refused() -> None:
    with pytest.raises(ValueError, match="`inputs` must be in 1 … 50"):
        build_machine(tiny(system="shg"))


def test_ngspice_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(FileNotFoundError, match="an installed ngspice"):
        build_machine(tiny(system="circuit", device="spice"))


def test_config_survives_json_and_refuses_the_unknown() -> None:
    config = tiny(data="vowels", data_root=Path("x"))
    assert TrainConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
    with pytest.raises(ValueError, match="colour"):
        TrainConfig.from_json({**config.to_json(), "colour": "red"})


def test_another_checkpoint_is_refused(trained: Path, tmp_path: Path) -> None:
    save_tree(tmp_path / "x.safetensors", {"a": torch.ones(1)}, {"kind": "other"})
    with pytest.raises(ValueError, match="a network that `metaphys train` wrote"):
        load_network(tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match="a model that `metaphys meta-train` wrote"):
        load_model(trained / "network.safetensors")


# -------------------------------------------------------------------------------- the report


def test_interval_is_scipys() -> None:
    for right, count in ((0, 20), (7, 20), (450, 450), (333, 450)):
        theirs = binomtest(right, count).proportion_ci(method="wilson")
        assert wilson(right / count, count) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_page_has_every_figure_and_stands_alone(trained: Path, tmp_path: Path) -> None:
    page = write_report([trained], tmp_path)
    text = page.read_text()
    for row in read_metrics(trained / "metrics.csv"):
        assert row["method"] in text
    assert "figures mean nothing" in text
    assert_stands_alone(page, ("learning", "confusion", "response", "way"))


def test_several_runs_are_shown_one_after_the_other(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefixes = []
    monkeypatch.setattr(_report, "_draw", lambda run, folder, prefix: prefixes.append(prefix) or [])
    text = write_report([trained, trained], tmp_path / "both.html").read_text()
    assert text.count("<h2>pat on unit 20000 of plate, digits</h2>") == 2
    assert prefixes == ["1-", "2-"]


def test_findings_say_what_was_reached_and_beside_what(trained: Path) -> None:
    found = read_trained(trained)
    longer = dataclasses.replace(found, config=tiny(steps=500))
    said = " ".join(sentences(longer))
    assert f"{100 * found.own['accuracy']:.1f}" in said
    for word in ("20 test samples", "exact gradient", "physics removed", "linear classifier"):
        assert word in said
    assert said.endswith("One unit and one seed: nothing is said about others.")


def test_runs_of_two_commands_are_not_mixed(trained: Path, tmp_path: Path) -> None:
    other, _ = finished(tmp_path / "other")
    assert command_of([trained]) == "train"
    assert command_of([other]) == "meta-train"
    with pytest.raises(ValueError, match="of one command"):
        command_of([trained, other])


@pytest.mark.parametrize(
    ("config", "command"),
    [
        (TrainConfig(), "train"),
        (DriftConfig(), "drift"),
        (RecalibrationConfig(), "recalibrate"),
        (RLConfig(), "rl"),
    ],
)
def test_a_run_tells_its_command(tmp_path: Path, config: Any, command: str) -> None:
    run = RunDirectory(tmp_path / "run", config.to_json())
    assert command_of([run.path]) == command


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("summary.json", "{}", "`summary.json` must be with"),
        ("summary.json", "[", "must hold readable files"),
        ("metrics.csv", "method\n", "`metrics.csv` must be with the columns"),
    ],
)
def test_damaged_runs_are_refused_by_name(
    trained: Path, tmp_path: Path, name: str, content: str, message: str
) -> None:
    copy = shutil.copytree(trained, tmp_path / "copy")
    (copy / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        write_report([copy])


@pytest.mark.parametrize(
    ("name", "place", "value"),
    [
        ("summary.json", ("confusion",), None),
        ("summary.json", ("confusion", 0), [1]),
        ("summary.json", ("confusion", 0, 0), -1),
        ("summary.json", ("way", "layers"), []),
        ("summary.json", ("way", "layers", 0, "device"), [0.5]),
        ("summary.json", ("way", "layers", 0, "error"), "small"),
        ("summary.json", ("way", "target"), None),
        ("summary.json", ("judged",), 0),
        ("summary.json", ("seconds",), []),
        ("summary.json", ("excess",), 3),
        ("summary.json", ("twin",), {"calls": 3}),
        ("curves.json", ("pat", "look_step"), None),
        ("curves.json", ("pat", "look_accuracy"), []),
        ("curves.json", ("pat", "loss", 0), None),
    ],
)
def test_figures_that_cannot_be_shown_are_named(
    trained: Path, tmp_path: Path, name: str, place: tuple[Any, ...], value: Any
) -> None:
    copy = shutil.copytree(trained, tmp_path / "copy")
    replaced(copy / name, *place, by=value)
    with pytest.raises(ValueError, match=rf"^`{name}` must be .* in /.*{name}\..*--resume"):
        read_trained(copy)


@pytest.mark.parametrize("content", ["", "[]", '{"pat": "long"}'])
def test_a_damaged_clock_is_named(trained: Path, tmp_path: Path, content: str) -> None:
    copy = shutil.copytree(trained, tmp_path / "copy")
    (copy / "seconds.json").write_text(content)
    with pytest.raises(ValueError, match=r"seconds\.json"):
        train(TINY, RunDirectory(copy, TINY.to_json(), resume=True), Silent())


def test_losses_are_those_of_the_samples_that_all_methods_share() -> None:
    machine = build_machine(TINY)
    first, again = (batch(machine.data.train, 4, 0, "batch", 7) for _ in range(2))
    assert first[0].equal(again[0])
    assert not first[0].equal(batch(machine.data.train, 4, 0, "batch", 8)[0])
    assert torch.isfinite(cross_entropy(machine.network(first[0]), first[1]))
    assert isinstance(machine.devices("x")[0], WithNoise)
