"""The scripts that train units: short runs of each, and what they share."""

from __future__ import annotations

import dataclasses
import importlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import result_tables
import torch

from metaphys.data import Dataset, Split
from metaphys.nn import FeatureNetwork
from metaphys.physics import Ports, SimulatedDevice, nrmse
from metaphys.training._wire import Wire


@pytest.fixture(scope="module")
def script() -> Iterator[Any]:
    """From a script's name to its module, its neighbours importable as when it is run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(result_tables.RESULTS))
        torch.set_default_dtype(torch.float32)
        yield importlib.import_module


@pytest.fixture(autouse=True)
def precision() -> None:
    torch.set_default_dtype(torch.float32)  # what a script has; the laboratory puts it back


def split(count: int, features: int, classes: int, seed: int) -> Split:
    """Samples around one centre for each class."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.arange(count) % classes
    noise = 0.05 * torch.rand(count, features, generator=generator)
    return Split(
        (targets.unsqueeze(-1) + torch.arange(features)) % classes / classes + noise, targets
    )


def problem(features: int, classes: int) -> Dataset:
    parts = [split(n, features, classes, seed) for seed, n in enumerate((40, 10, 20))]
    return Dataset("made up", classes, (features,), *parts, linear_accuracy=None, source="")


def test_the_test_set_does_not_move_the_scale(script: Any) -> None:
    rows = script("_rows")
    train = Split(torch.tensor([[0.0, 10.0], [2.0, 30.0]]), torch.tensor([0, 1]))
    known, test = rows.scaled(
        train, Split(torch.tensor([[4.0, 20.0]]), torch.tensor([0])), -1.0, 1.0
    )
    assert known.inputs.tolist() == [[-1.0, -1.0], [1.0, 1.0]]
    assert test.inputs.tolist() == [[3.0, 0.0]]


def test_a_killed_script_goes_on_where_it_was(script: Any, tmp_path: Path) -> None:
    rows = script("_rows")
    asked: list[int] = []

    def train(seed: int) -> dict[str, float]:
        asked.append(seed)
        return {"in silico": 0.5, "PAT": 0.8 + 0.1 * seed}

    head = {"experiment": "some", "command": "python some.py"}
    for seeds in ((0,), (0, 1)):
        row = rows.Row(head, folder=tmp_path)
        for seed in seeds:
            row.run(seed, 0, lambda seed=seed: train(seed))
    assert asked == [0, 1]
    stored = json.loads((tmp_path / "some.json").read_text())
    assert stored["values"] == [0.8, 0.9]
    assert stored["mean"] == pytest.approx(0.85)
    assert stored["baselines"] == {"in silico": 0.5}
    row.run(2, 0, lambda: {"in silico": 0.2, "PAT": 0.6, "exact": 0.7})
    found = row.summary()["baselines"]
    assert found == pytest.approx(
        {"in silico": 0.4, "exact": 0.7, "PAT in the same runs as exact": 0.6}
    )
    # Another experiment is not mixed with it.
    other = rows.Row({**head, "command": "python some.py --other"}, folder=tmp_path)
    assert other.runs == []


def test_a_network_descends_on_a_wire(script: Any) -> None:
    """Element by element alone: a class sees one feature, which is what physics has to mix."""
    vowels = script("_vowels")
    net = FeatureNetwork(
        Wire(Ports(6, {}, 6)),
        torch.arange(6) % 3,
        (0, 4),
        low=-1.0,
        power=False,
        generator=torch.Generator().manual_seed(0),
    )
    features = torch.rand(3, requires_grad=True)
    for index, seen in enumerate((0, 1)):
        (grad,) = torch.autograd.grad(net(features)[index], features)
        assert [place for place, value in enumerate(grad.tolist()) if value] in ([], [seen])
    assert vowels.counted(net) == (12, 6 + 12 + 2)


SHORT: dict[str, Any] = {"steps": 2, "steps_on_unit": 2, "batch": 8}


@pytest.mark.parametrize("name", ["shg_vowels", "spice_vowels"])
def test_units_on_vowels_run(script: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = script(name)
    if name == "spice_vowels":
        monkeypatch.setattr(module, "in_ngspice", SimulatedDevice)
    short = dataclasses.replace(module.EXPERIMENT, **SHORT)
    found = short.train(problem(12, 7), seed=1, split=1)
    methods = {"PAT", short.gradient, "in silico", "in silico, moved to the unit"}
    assert methods | {"physics removed", "linear classifier"} == set(found)
    assert all(0 <= value <= 1 for value in found.values())
    head = short.head([1], splits=3)
    assert head["command"] == f"python docs/results/{name}.py VOWELS --seed 1 --splits 3"
    assert all(0 < gap < 2 for gap in short.gaps(1))


@pytest.mark.skipif(shutil.which("ngspice") is None, reason="the package ngspice is not installed")
def test_the_unit_in_ngspice_is_the_circuit(script: Any) -> None:
    """With so few steps, so many copies and such tolerances: within 1 % of the readings."""
    module = script("spice_vowels")
    unit = module.circuits(1)[0]
    drives = 4 * torch.rand(3, module.SAMPLES, generator=torch.Generator().manual_seed(0)) - 2
    measured = module.in_ngspice(unit).measure(drives, {})
    assert 1e-4 < nrmse(unit(drives, {}), measured) < 0.01
    assert nrmse(module.TWIN(drives, {}), measured) > 0.1


def test_shg_on_images_runs(script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    module = script("shg_mnist")
    for name, value in {"BATCH": 20, "EPOCHS": 1, "EPOCHS_ON_UNIT": 1}.items():
        monkeypatch.setattr(module, name, value)
    data = problem((2 * module.SIDE) ** 2, 10)
    found = module.Training(data)(0)
    removed = {"identity for SHG", "squares for SHG", "linear classifier"}
    assert removed | {"PAT", "exact gradient", "in silico"} <= set(found)
    assert all(0 <= value <= 1 for value in found.values())
    physical, digital = module.Sandwich(module.TWIN, 0).counted()
    assert digital <= 30_000 < 30_000 + physical
