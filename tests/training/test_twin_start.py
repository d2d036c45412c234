"""Where the classical rival's training on a fitted twin begins: at the best start it could have."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from metaphys._runs import Silent
from metaphys.training import Config, RunDirectory, _experiment, build, meta_train
from metaphys.training._classical import CHOOSING, classical_setting, start_step
from metaphys.training._draws import TEST_UNITS, VALIDATION_UNITS, Params
from metaphys.training._phases import Phases
from metaphys.training._report import write_report
from metaphys.training._starts import learn
from metaphys.training.recalibration import on_twin

TINY = Config(system="plate", noise=0.0).quick()


@pytest.fixture(autouse=True)
def float32(laboratory: None):
    """The experiment runs in the user's default dtype, which is float32."""
    torch.set_default_dtype(torch.float32)


def test_every_start_is_tried_on_units_that_judge_nobody() -> None:
    """A validation unit is its own twin; samples are those that choices are made on."""
    problem = build(TINY)
    starts = [problem.initial, problem.started(seed=1)]
    setting, seen = classical_setting(problem), problem.choosing
    begun = torch.zeros(2, len(CHOOSING), dtype=torch.float64)
    found, step = begun, start_step(problem, setting, starts)
    for index in range(begun.numel()):
        found = step(found, index)
    assert begun.count_nonzero() == 0
    assert VALIDATION_UNITS <= min(CHOOSING) and max(CHOOSING) < TEST_UNITS

    def reached(start: Params, unit: int) -> float:
        key = (problem.config.seed, "start of the fitted twin", unit)
        twin = setting.simulated(unit)
        params = on_twin(setting, start, twin, key)
        with torch.no_grad():
            logits = setting.logits(params, seen.inputs, twin)
        return float((logits.argmax(-1) == seen.targets).double().mean())

    expected = [[reached(start, unit) for unit in CHOOSING] for start in starts]
    assert found.tolist() == [pytest.approx(row, abs=1.5 / len(seen)) for row in expected]
    assert len({value for row in expected for value in row}) > 2


def test_the_best_start_is_taken_stored_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Params] = []

    def tried(*_: Any) -> Callable[[Tensor, int], Tensor]:
        accuracy = torch.tensor([0.5, 0.4, 0.6], dtype=torch.float64)
        return lambda state, index: accuracy[:, None].expand_as(state).clone()

    def classical(problem: Any, setting: Any, start: Params, units: Any) -> Any:
        given.append(start)
        return lambda state, index: state

    monkeypatch.setattr(_experiment, "start_step", tried)
    monkeypatch.setattr(_experiment, "classical_step", classical)
    run = RunDirectory(tmp_path / "run", TINY.to_json())
    meta_train(TINY, run, Silent(), grid={("SGD", "cross entropy"): (0.1,)})
    summary = json.loads((run.path / "summary.json").read_text())
    known = {"in silico": 0.5, "sharpness-aware": 0.4, "population start": 0.6}
    assert summary["fitted_twin_starts"] == pytest.approx(known)
    again = RunDirectory(run.path, TINY.to_json(), resume=True)
    starts = learn(build(TINY), Phases(again, Silent())).rivals
    (start,) = given
    assert all(value.equal(start[name]) for name, value in starts["population start"].items())
    assert not all(value.equal(start[name]) for name, value in starts["in silico"].items())
    said = write_report([run.path]).read_text()
    assert "population start (validation units: in silico 50.0 %, sharpness-aware 40.0 %," in said
