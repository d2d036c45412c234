"""What is stored of finished runs: all that a reader needs, and nothing that was not run."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
import result_tables
import torch

from metaphys._runs import Silent
from metaphys.training import RunDirectory, TrainConfig, train
from metaphys.training.unit._results import TrainedRun, read_trained
from tests.docs.scripts import result_script

KEYS = (
    "experiment command commit seeds metric values mean published baselines physical_parameters "
    "digital_parameters seconds"
).split()


trained = result_script("trained")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    torch.set_default_dtype(torch.float32)
    path = tmp_path_factory.mktemp("trained") / "run"
    config = TrainConfig(system="plate", layers=1, steps=11, batch=4, judged=20)
    train(config, RunDirectory(path, config.to_json()), Silent())
    return read_trained(path)


def other(run: TrainedRun, reached: float, **changes: Any) -> TrainedRun:
    rows = [{**row, "accuracy": reached} if row["method"] == "pat" else row for row in run.rows]
    return dataclasses.replace(run, rows=rows, config=dataclasses.replace(run.config, **changes))


def test_a_result_has_every_key_and_one_run_is_called_one(run: TrainedRun) -> None:
    found = trained.collect([run])
    assert set(KEYS) <= set(found)
    assert found["values"] == [run.own["accuracy"]]
    assert found["interval"] is None
    assert "One unit, one seed" in found["notes"][-1]
    assert set(found["baselines"]) == {row["method"] for row in run.rows} - {"pat"}
    assert trained.name(run) == "plate-digits-pat"


def test_a_result_says_what_its_twins_and_units_are(run: TrainedRun) -> None:
    notes = trained.collect([run])["notes"]
    assert any("drawn from PlateSpread(thickness=0.01" in note for note in notes)  # 0.2 of 5 %
    assert any("an SNR of 40 dB" in note for note in notes)
    assert "The twin is the nominal system, not one that was fitted to the unit." in notes
    twin = {"calls": 15, "before": [0.5], "after": [0.012]}
    fitted = dataclasses.replace(run, summary={**run.summary, "twin": twin})
    found = trained.collect([fitted], called="plate-x", command="a command")
    assert (found["experiment"], found["command"]) == ("plate-x", "a command")
    assert any("50.0 to 50.0 % off, the fitted ones 1.2 to 1.2 %" in n for n in found["notes"])


def test_several_runs_have_their_mean_and_its_interval(run: TrainedRun) -> None:
    found = trained.collect([other(run, 0.5, seed=1), other(run, 0.7, seed=2)])
    assert found["mean"] == pytest.approx(0.6)
    # Student's t for two values: 12.706 times half of their distance.
    assert found["interval"] == pytest.approx(12.7062 * 0.1, rel=1e-4)
    assert found["seeds"] == [1, 2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"steps": 10}, "quick run"), ({"lr": 1.0, "seed": 5}, "nothing else"), ({}, "nothing else")],
)
def test_what_shows_nothing_is_not_stored(run: TrainedRun, changes: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        trained.collect([run, other(run, 0.5, **changes)])


def stored() -> list[Path]:
    """The results of physical networks that have values; there are some in every checkout."""
    needed = {"values", "physical_parameters"}
    files = sorted(result_tables.RESULTS.glob("*.json"))
    return [path for path in files if needed <= json.loads(path.read_text()).keys()]


@pytest.mark.parametrize("path", stored(), ids=lambda path: path.stem)
def test_what_is_stored_is_consistent(path: Path) -> None:
    found = json.loads(path.read_text())
    assert set(KEYS) <= set(found)
    assert found["mean"] == pytest.approx(math.fsum(found["values"]) / len(found["values"]), 1e-4)
    assert result_tables.section(path.stem, found).startswith("## ")
