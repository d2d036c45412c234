"""The experiment: its inner loop, its phases, its model; in sizes that take seconds."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optree
import pytest
import torch
from torch import Tensor

import metaphys
from metaphys._runs import Silent, load_tensors
from metaphys.nn import run_on
from metaphys.physics import PhysicsAware
from metaphys.training import (
    Config,
    RunDirectory,
    adapt,
    adapt_unit,
    build,
    cross_entropy,
    load_model,
    meta_train,
    read_metrics,
    squared_error,
)
from metaphys.training._draws import draw_samples
from metaphys.training._experiment import Comparison
from metaphys.training._fleet import running
from metaphys.training._judge import fine_tuning, judge
from metaphys.training._loop import begin, check_finite, value_and_grad
from metaphys.training._meta import learned_rule
from metaphys.training._outer import BATCH, nominal_step
from metaphys.training._phases import Phases
from metaphys.training._starts import ANOTHER, VALIDATION, held_out_units, learn
from tests._runs.stopping import failing_at_every, finished_in_parts, killed_and_resumed
from tests.training.blind import blind, units_asked_for
from tests.training.runs import uniform

TINY = Config(
    units=2,
    labels=6,
    queries=4,
    adapt_steps=2,
    meta_units=2,
    nominal_steps=4,
    population_steps=3,
    meta_steps=3,
    full_epochs=2,
    epoch_steps=2,
    twin_steps=2,
    pool=2,
)


@pytest.fixture(autouse=True)
def float32(laboratory: None):
    """The experiment runs in the user's default dtype, which is float32."""
    torch.set_default_dtype(torch.float32)


FEW_RATES = {("SGD", "cross entropy"): (1.0,)}
"""A sweep of one rate."""


def run(path: Path, config: Config = TINY, **options: bool) -> list[dict[str, Any]]:
    directory = RunDirectory(path, config.to_json(), **options)
    return meta_train(config, directory, Silent(), grid=FEW_RATES)


def test_losses_equal_torchs_and_their_formula() -> None:
    logits, targets = torch.randn(7, 5), torch.randint(5, (7,))
    expected = torch.nn.functional.cross_entropy(logits, targets)
    torch.testing.assert_close(cross_entropy(logits, targets), expected)
    wanted = 10.0 * (torch.nn.functional.one_hot(targets, 5) - 0.2)
    torch.testing.assert_close(squared_error(logits, targets), (logits - wanted).pow(2).mean())


def test_adapt_is_the_seeds_loop_of_meta_sgd_on_a_module() -> None:
    torch.set_default_dtype(torch.float64)
    problem = build(TINY)
    x, y = draw_samples(problem.data.train, 1, 6, "test")
    rule = metaphys.sgd(lr=0.5)
    fleet = problem.fleet([20_000], "same")
    functional = fleet.each(
        lambda apply, a, b: adapt(
            apply, problem.initial, a, b, rule=rule, steps=3, loss=cross_entropy
        ),
        (0, 0),
        x,
        y,
    )
    network = problem.network.requires_grad_(True)
    network.logit_scale.requires_grad_(False)
    # The same unit and noise, alone: a fleet of one with the unit's dimension in front.
    (devices,) = problem.fleet([20_000], "same").groups
    with run_on(network, *map(PhysicsAware, devices, problem.twins.nominal)):
        optimizer = metaphys.MetaSGD(network, lr=0.5)
        for _ in range(3):
            optimizer.step(cross_entropy(network(x)[0], y[0]))
    for name, value in network.named_parameters():
        if name != "logit_scale":
            torch.testing.assert_close(functional[name][0], value, rtol=1e-10, atol=1e-12)


class Surrogate:
    """f_twin + offset: the offset of each call is measured once, then frozen.

    The derivatives of physics-aware training are those of this function, to every order.
    """

    def __init__(self, pat: PhysicsAware) -> None:
        self.pat, self.ports, self.units = pat, pat.ports, ()
        self.offsets: list[Tensor] = []
        self.frozen: Iterator[Tensor] | None = None

    def __call__(self, drive: Tensor, controls: Any) -> Tensor:
        """The readout, with its offset kept; or the twin with the offset that was kept."""
        model = self.pat.twin(drive, controls)
        if self.frozen is not None:
            return model + next(self.frozen)
        readout = self.pat(drive, controls)
        # Out of the transforms: the batch of units is the leading dimension again.
        self.offsets.append(torch.func.debug_unwrap(readout - model, recurse=True).detach())
        return readout


def outer_loss(apply: Any, learned: dict[str, Any], x: Tensor, y: Tensor) -> Tensor:
    adapted = adapt(
        apply,
        learned["start"],
        x[:6],
        y[:6],
        rule=learned_rule(learned["rates"]),
        steps=2,
        loss=squared_error,
    )
    return cross_entropy(apply(adapted, x[6:]), y[6:])


def test_meta_gradient_equals_central_differences_of_the_surrogate() -> None:
    """By start and step sizes, through two inner steps under vmap, in float64."""
    torch.set_default_dtype(torch.float64)
    problem = build(TINY)
    x, y = draw_samples(problem.data.train, 2, 10, "test")
    learned = uniform(problem, 1).learned
    fleet = problem.fleet([20_000, 20_001], "test")
    ((device,),) = fleet.groups
    model = Surrogate(PhysicsAware(device, problem.twins.nominal[0]))
    apply = running(problem.network, model)

    def mean(learned: dict[str, Any]) -> Tensor:
        return torch.vmap(lambda a, b: outer_loss(apply, learned, a, b))(x, y).mean()

    grads = torch.func.grad(mean)(learned)
    assert len(model.offsets) == 3 and fleet.calls == 6 + 6 + 4

    def frozen(learned: Any) -> Tensor:
        """Unit by unit, without vmap: an independent way to the same value."""
        losses = []
        for unit in range(2):
            model.frozen = iter([offset[unit] for offset in model.offsets])
            losses.append(outer_loss(apply, learned, x[unit], y[unit]))
        return torch.stack(losses).mean()

    direction = optree.tree_map(torch.randn_like, learned)
    expected = sum(
        (g * d).sum() for g, d in zip(optree.tree_leaves(grads), optree.tree_leaves(direction))
    )
    step = 1e-5

    def shifted(by: float) -> Tensor:
        return frozen(optree.tree_map(lambda v, d: v + by * d, learned, direction))

    difference = (shifted(step) - shifted(-step)) / (2 * step)
    torch.testing.assert_close(difference, torch.as_tensor(expected), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("radius", [0.0, 0.7])
def test_sharpness_aware_training_takes_the_gradient_at_the_worst_point(radius: float) -> None:
    problem = build(TINY)
    x, y = draw_samples(problem.data.train, 1, 2 * BATCH, TINY.seed, "nominal", 0)
    at = {name: value.clone().requires_grad_() for name, value in problem.initial.items()}

    def gradient(params: dict[str, Tensor]) -> list[Tensor]:
        loss = torch.nn.functional.cross_entropy(problem.apply(params, x[0]), y[0])
        return list(torch.autograd.grad(loss, list(params.values())))

    here = gradient(at)
    norm = torch.cat([g.flatten() for g in here]).norm()
    worst = [(p.detach() + radius * g / norm).requires_grad_() for p, g in zip(at.values(), here)]
    there = gradient(dict(zip(at, worst)))
    found = nominal_step(problem, 3, 0.01, radius)(begin(problem.initial, 3), 0).optimizer
    torch.testing.assert_close(list(found.mu), [0.1 * g for g in there])
    assert radius == 0 or not torch.allclose(there[0], here[0], rtol=0.05)


def test_learned_rates_are_exponentials_by_step() -> None:
    rates = {"w": torch.tensor([[0.0], [1.0]])}
    at = learned_rule(rates).hyper["lr"]["w"]
    assert [float(at(torch.tensor(t))) for t in (0, 1, 2)] == pytest.approx([1.0, math.e, math.e])


def test_judge_counts_calls_and_gives_a_unit_the_same_alone_and_in_a_fleet() -> None:
    problem = build(TINY)
    recipe = fine_tuning("SGD", "cross entropy", 1.0)
    test = problem.data.test
    both = judge(problem, [20_000, 20_001], problem.initial, test, recipe=recipe)
    alone = judge(problem, [20_001], problem.initial, test, recipe=recipe)
    assert both.device_calls == alone.device_calls == TINY.labels * TINY.adapt_steps
    assert float(both.accuracy[1]) == float(alone.accuracy[0])
    assert judge(problem, [20_000], problem.initial, test).device_calls == 0


def test_a_run_leaves_all_its_files_and_every_method(tmp_path: Path) -> None:
    rows = run(tmp_path / "run")
    methods = list(dict.fromkeys(row["method"] for row in rows))
    assert methods == [
        "linear classifier",
        "another unit's",
        "in silico",
        "in silico + fine-tuning",
        "sharpness-aware",
        "sharpness-aware + fine-tuning",
        "population start",
        "population start + fine-tuning",
        "twin fitted by Gauss-Newton",
        "meta-learned start, not adapted",
        "meta-learned",
        "full training",
    ]
    assert read_metrics(tmp_path / "run" / "metrics.csv") == rows
    adapted = [row for row in rows if row["method"] == "meta-learned"]
    assert [row["unit"] for row in adapted] == [20_000, 20_001]
    assert all(row["device_calls"] == 12 and row["labels"] == 6 for row in adapted)
    curves = json.loads((tmp_path / "run" / "curves.json").read_text())
    assert len(curves["meta-learning"]["loss"]) == TINY.meta_steps


def assert_same_run(one: Path, other: Path) -> None:
    for name in ("metrics.csv", "curves.json"):
        assert (one / name).read_bytes() == (other / name).read_bytes()
    # Not the bytes of this file: the order of its header's metadata is arbitrary.
    here, there = (load_tensors(path / "model.safetensors") for path in (one, other))
    assert here.keys() == there.keys()
    assert all(here[name].equal(there[name]) for name in here)


def test_interrupted_anywhere_a_run_ends_with_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(tmp_path / "whole")
    interrupting = failing_at_every(4, check_finite)
    # Not by the module's name: another test may have imported it anew since.
    monkeypatch.setitem(value_and_grad.__globals__, "check_finite", interrupting)
    parts, times = finished_in_parts(lambda resume: run(tmp_path / "parts", resume=resume))
    assert times >= 3
    assert parts == whole
    assert_same_run(tmp_path / "parts", tmp_path / "whole")


RUN = """
import sys
from pathlib import Path
from tests.training.test_experiment import run
path = Path(sys.argv[1])
run(path, resume=path.exists())
"""


def test_killed_without_warning_a_run_ends_with_the_same_bits(tmp_path: Path) -> None:
    run(tmp_path / "whole")
    killed_and_resumed(RUN, tmp_path / "killed", "meta-learning", "full-training")
    assert_same_run(tmp_path / "killed", tmp_path / "whole")


def test_a_loss_that_is_not_finite_stops_with_the_state_stored(tmp_path: Path) -> None:
    config = dataclasses.replace(TINY, meta_lr=1e30, rate_lr=1e30, meta_steps=20)
    with pytest.raises(FloatingPointError, match="loss"):
        run(tmp_path / "run", config)
    assert (tmp_path / "run" / "checkpoints" / "meta-learning.safetensors").exists()


def test_adapt_unit_improves_on_nothing_and_stores_the_controls(tmp_path: Path) -> None:
    rows = run(tmp_path / "run")
    found = adapt_unit(tmp_path / "run" / "model.safetensors", 20_000)
    row = next(r for r in rows if r["method"] == "meta-learned" and r["unit"] == 20_000)
    assert found["accuracy_after"] == pytest.approx(row["accuracy"], abs=1e-6)
    assert found["device_calls"] == row["device_calls"] and found["output"].exists()


def test_model_of_another_system_or_kind_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "model.safetensors"
    with pytest.raises(FileNotFoundError, match="checkpoint"):
        load_model(path)
    path.write_bytes(b"no safetensors at all")
    with pytest.raises(ValueError, match="checkpoint"):
        load_model(path)
    for metadata in ({"kind": "other"}, {"kind": "metaphys model"}):
        save_file({"x": torch.zeros(1)}, path, metadata)
        with pytest.raises(ValueError, match="checkpoint"):
            load_model(path)
    ours = {"kind": "metaphys model"}
    damaged = ({}, *({"config": text} for text in ("", "[]", '{"labels": "a"}', '{"labels": 0}')))
    for metadata in (*damaged, {"config": json.dumps(TINY.to_json())}):
        save_file({"x": torch.zeros(1)}, path, {**ours, **metadata})
        with pytest.raises(ValueError, match="^`checkpoint`.*" + path.name):
            load_model(path)


def test_adapted_controls_go_to_a_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`output` must be a file, .*the directory"):
        adapt_unit(tmp_path / "model.safetensors", 20_000, tmp_path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("units", 0),
        ("labels", 0),
        ("noise", -1.0),
        ("meta_lr", 0.0),
        ("gain", -1.0),
        ("seed", -1),
        ("system", "laser"),
        ("device", "spice"),
        ("learn", ()),
        ("learn", ("start", "start")),
        ("learn", ("everything",)),
        ("adjoint", "implicit"),
        ("layers", 0),
        ("data", "cifar"),
    ],
)
def test_config_refuses_what_is_out_of_range_by_name(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=field):
        dataclasses.replace(TINY, **{field: value})


def test_nothing_is_learned_or_tuned_on_what_judges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem, phases = build(TINY), Phases(RunDirectory(tmp_path / "run", {}), Silent())
    problem = dataclasses.replace(problem, data=blind(problem.data))
    asked = units_asked_for(monkeypatch)
    starts = learn(problem, phases)
    held_out = {*held_out_units(TINY)}
    assert held_out < asked  # by full training, which is of a unit itself
    assert max(asked - held_out) == ANOTHER < 20_000 and min(asked) < 10_000
    asked.clear()
    _, sweeps = Comparison(problem, phases, starts).tuned(FEW_RATES)
    assert asked == {*VALIDATION} and not asked & held_out
    reached = [trial["accuracy"] for each in sweeps.values() for trial in each["sweep"]]
    assert len(reached) == 3 and min(reached) > 0


@pytest.mark.parametrize("count", [1, 20, 100, 101, 250])
def test_no_unit_is_held_out_for_two_seeds(count: int) -> None:
    found = [held_out_units(Config(units=count, seed=seed)) for seed in range(4)]
    everyone = [unit for units in found for unit in units]
    assert len(set(everyone)) == len(everyone) == 4 * count and min(everyone) == 20_000
    if count <= 100:  # those of the stored figures
        assert [units[0] for units in found] == [20_000, 20_100, 20_200, 20_300]


def test_more_labels_than_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="labels"):
        build(dataclasses.replace(TINY, labels=5000))


def test_config_survives_json() -> None:
    config = dataclasses.replace(TINY, data_root=Path("somewhere"))
    assert Config.from_json(json.loads(json.dumps(config.to_json()))) == config
    with pytest.raises(ValueError, match="unknown"):
        Config.from_json({"unknown": 1})
