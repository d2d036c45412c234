"""Devices that fail while an experiment runs: asked again, then stopped, then gone on with."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from metaphys._runs import MEASUREMENTS, RunDirectory, Silent
from metaphys.cli import main
from metaphys.physics import DeviceError, SimulatedDevice, SpiceDevice
from metaphys.training import Config, TrainConfig, adapt_unit, meta_train, train
from metaphys.training.recalibration import RecalibrationConfig, recalibrate

FEW: dict[str, Any] = {
    "labels": 4,
    "queries": 4,
    "adapt_steps": 1,
    "meta_units": 1,
    "pool": 2,
    "nominal_steps": 3,
    "population_steps": 3,
    "meta_steps": 3,
    "full_epochs": 2,
    "epoch_steps": 2,
}
EXPERIMENTS: dict[str, tuple[Any, Any]] = {
    "train": (TrainConfig(system="plate", layers=1, steps=4, batch=4, judged=20, looks=2), train),
    "meta-train": (Config(units=1, **FEW), meta_train),
    "recalibrate": (
        RecalibrationConfig(units=1, budgets=(4, 6), batch=4, start_steps=5, twin_steps=2).quick(),
        recalibrate,
    ),
}


@pytest.fixture(autouse=True)
def float32(laboratory: None) -> None:
    """A person's default dtype."""
    torch.set_default_dtype(torch.float32)


class Script:
    """Has a device answer wrongly at some of its calls, or a person stop it."""

    def __init__(self, patch: pytest.MonkeyPatch, kind: type) -> None:
        self.calls, self.wrong, self.stop, self.read = 0, range(0), -1, kind._read
        script = self

        def read(device: Any, drive: Tensor, controls: Any) -> Any:
            script.calls += 1
            if script.calls - 1 == script.stop:
                raise KeyboardInterrupt
            readout = script.read(device, drive, controls)
            return readout * torch.nan if script.calls - 1 in script.wrong else readout

        patch.setattr(kind, "_read", read)


def run(name: str, path: Path, **kept: bool) -> list[dict[str, Any]]:
    config, experiment = EXPERIMENTS[name]
    return experiment(config, RunDirectory(path, config.to_json(), **kept), Silent())


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_device_that_fails_stops_a_run_and_the_resumed_one_ends_with_the_same_bits(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = Script(monkeypatch, SimulatedDevice)
    whole = run(name, tmp_path / "whole")
    first = script.calls // 2
    script.calls, script.wrong = 0, range(first, first + 3)
    with pytest.raises(DeviceError, match=r"SimulatedDevice.*3 of 3.*not finite.*--resume"):
        run(name, tmp_path / "parts")
    assert not (tmp_path / "parts" / "metrics.csv").exists()
    assert any((tmp_path / "parts" / "checkpoints").iterdir())
    script.wrong = range(0)
    assert run(name, tmp_path / "parts", resume=True) == whole


def test_adapting_a_unit_survives_two_failures_and_not_three(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("meta-train", tmp_path / "run")
    script = Script(monkeypatch, SimulatedDevice)
    model, output = tmp_path / "run" / "model.safetensors", tmp_path / "controls.safetensors"
    expected = adapt_unit(model, 20_000, output)
    script.calls, script.wrong = 0, range(1, 3)
    assert adapt_unit(model, 20_000, output) == expected
    output.unlink()
    script.calls, script.wrong = 0, range(1, 4)
    with pytest.raises(DeviceError):
        adapt_unit(model, 20_000, output)
    assert not output.exists()


def test_the_command_line_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = Script(monkeypatch, SimulatedDevice)
    script.wrong = range(3, 5)
    short = "--system plate --layers 1 --steps 3 --batch 4 --judged 20".split()
    given = ["train", *short, "--run-dir", str(tmp_path / "run")]
    assert main([*given, "--attempts", "2"]) == 2
    error = capsys.readouterr().err
    assert "2 of 2 attempts" in error and "Traceback" not in error
    assert error.splitlines()[-1].split()[-3:] == ["--attempts", "2", "--resume"]
    # With more patience than it began with.
    assert main([*given, "--resume", "--attempts", "4", "--timeout", "60"]) == 0


@pytest.mark.parametrize("kind", [Config, TrainConfig, RecalibrationConfig])
@pytest.mark.parametrize("given", [{"attempts": 0}, {"timeout": 0.0}])
def test_patience_out_of_range_is_refused(kind: Any, given: dict[str, Any]) -> None:
    (name,) = given
    with pytest.raises(ValueError, match=f"`{name}`"):
        kind(**given)


# What is measured is never lost or taken twice -------------------------------------------------


def measured(path: Path) -> list[tuple[Any, ...]]:
    """What an archive holds, but for times."""
    query = "SELECT device, input, occurrence, calls, readout FROM measurements ORDER BY 1, 2, 3"
    return sqlite3.connect(path / MEASUREMENTS).execute(query).fetchall()


def test_a_recalibration_that_lost_its_checkpoints_measures_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that was killed at the worst moment; tests/physics/test_archive.py kills for good."""
    script = Script(monkeypatch, SimulatedDevice)
    whole = run("recalibrate", tmp_path / "whole")
    calls, taken = script.calls, measured(tmp_path / "whole")
    prior, random_drives = EXPERIMENTS["recalibrate"][0].prior_calls, 6
    # The classical rival is told what ours measured. Beside the unit another one is recalibrated,
    # and it is fine-tuned from two starts: in 4 steps on 4 calls, in 5 on 6, so with 5.
    spent = prior + 2 * random_drives + 2 * (4 + 5)
    assert sum(each for _, _, _, each, _ in taken) == spent
    script.calls, script.stop = 0, calls - 1  # all is measured; the last accuracy is not
    with pytest.raises(KeyboardInterrupt):
        run("recalibrate", tmp_path / "parts")
    shutil.rmtree(tmp_path / "parts" / "checkpoints")
    script.calls, script.stop = 0, -1
    assert run("recalibrate", tmp_path / "parts", resume=True) == whole
    assert script.calls == calls - len(taken)  # judging, which is nobody's budget
    assert measured(tmp_path / "parts") == taken


@pytest.mark.skipif(shutil.which("ngspice") is None, reason="ngspice is not installed")
def test_a_stopped_training_in_ngspice_measures_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = TrainConfig(device="spice", layers=1, steps=2, batch=2, judged=4, looks=1)
    script = Script(monkeypatch, SpiceDevice)

    def trained(path: Path, **kept: bool) -> list[dict[str, Any]]:
        return train(config, RunDirectory(path, config.to_json(), **kept), Silent())

    whole = trained(tmp_path / "run")
    taken = script.calls
    # All but the archive is lost, as if it had been killed before its first checkpoint.
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    assert trained(tmp_path / "run", resume=True) == whole
    assert script.calls == taken and len(measured(tmp_path / "run")) == taken
