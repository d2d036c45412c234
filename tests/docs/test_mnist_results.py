"""The scripts that store what was reached on MNIST: settings, distortions, what is written."""

from __future__ import annotations

import dataclasses
import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import result_tables
import torch

from metaphys.data import Split
from metaphys.training import RunDirectory, TrainConfig


@pytest.fixture(autouse=True)
def setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scripts find each other in their folder, and run in a person's default dtype."""
    monkeypatch.syspath_prepend(str(result_tables.RESULTS))
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def oscillators() -> Any:
    return importlib.import_module("oscillators_mnist")


def still(oscillators: Any, **changes: float) -> Any:
    return oscillators.Setting(**{"degrees": 0.0, "shift": 0.0, "scale": 0.0, **changes})


def test_without_distortion_every_second_pixel_is_left(oscillators: Any) -> None:
    images = torch.rand(3, 784, generator=torch.Generator().manual_seed(0))
    found = oscillators.distorted(images, still(oscillators), torch.Generator())
    torch.testing.assert_close(found, oscillators.every_second(images), rtol=0, atol=1e-5)
    assert found[0, 15].item() == pytest.approx(images[0, 2 * 28 + 2].item(), abs=1e-5)


@pytest.mark.parametrize(
    ("changes", "least", "most"),
    [
        # The largest of 500 uniform numbers is near its bound, in pixels of 14 x 14.
        ({"shift": 0.1}, 0.95 * 1.4, 1.45),
        ({"degrees": 90.0}, 4.0, 5.8),  # the blob is 4 pixels off the centre
        ({"scale": 0.5}, 2.0, 4.5),  # halved, it comes 2 pixels nearer
    ],
)
def test_a_distortion_moves_as_far_as_it_says(
    oscillators: Any, changes: dict[str, float], least: float, most: float
) -> None:
    y, x = torch.meshgrid(*[torch.arange(28.0)] * 2, indexing="ij")
    blob = (-((y - 14) ** 2 + (x - 22) ** 2) / 8).exp().flatten().expand(500, -1)
    source = torch.Generator().manual_seed(1)
    found = oscillators.distorted(blob, still(oscillators, **changes), source)
    y, x = torch.meshgrid(*[torch.arange(14.0)] * 2, indexing="ij")

    def centre(images: Any) -> Any:
        weights = images / images.sum(-1, keepdim=True)
        return torch.stack([weights @ y.flatten(), weights @ x.flatten()], -1)

    moved = (centre(found) - centre(oscillators.every_second(blob[:1]))).abs().amax()
    assert least < float(moved) < most


def test_an_epoch_learns_and_depends_on_its_number_alone(oscillators: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(10, (64,), generator=generator)
    images = torch.nn.functional.one_hot(targets, 784).float().roll(200, 1)
    given = oscillators.Setting(epochs=2, batch=16)
    step = oscillators.epoch(given, Split(images, targets))
    start = oscillators.begin(given)
    first, again = step(start, 0), step(start, 0)
    assert all(first.params[name].equal(value) for name, value in again.params.items())
    assert any(not first.params[name].equal(value) for name, value in start.params.items())
    assert sum(value.numel() for value in start.params.values()) == 81_255
    assert first.losses[0] < 2.4


def finished(folder: Path, oscillators: Any, reached: float, **changes: Any) -> None:
    given = oscillators.Setting(**changes)
    path = folder / f"{oscillators.NAME}-{given.seed}"
    run = RunDirectory(path, {**dataclasses.asdict(given), "threads": 1})
    summary = {"accuracy": reached, "linear": 0.9, "seconds": 60.0, "processor_seconds": 50.0}
    run.write_json("summary.json", summary)


def test_all_finished_seeds_are_stored(
    oscillators: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oscillators, "HERE", tmp_path)
    finished(tmp_path, oscillators, 0.97, seed=0)
    finished(tmp_path, oscillators, 0.98, seed=1)
    oscillators.store(tmp_path)
    found = json.loads((tmp_path / "oscillators-mnist.json").read_text())
    assert found["values"] == [0.97, 0.98]
    assert found["mean"] == pytest.approx(0.975)
    assert found["seeds"] == [0, 1]
    assert found["notes"][-1] == "Meant are 97.9% or more: NOT reached."
    finished(tmp_path, oscillators, 0.99, seed=2, lr=1.0)
    with pytest.raises(ValueError, match="differ in the seed alone"):
        oscillators.store(tmp_path)


@pytest.mark.parametrize("experiment", ["plate", "circuit"])
def test_units_are_whole_and_their_twins_fitted(experiment: str) -> None:
    script = importlib.import_module("mnist_units")
    config = script.configured(experiment, Path("data"), 2)
    assert isinstance(config, TrainConfig)
    assert (config.unit, config.seed) == (20_002, 2)
    assert config.spread >= 1.0
    assert (config.rule, config.twin, config.judged) == ("pat", "fitted", 10_000)
    assert not config.short
