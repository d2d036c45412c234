"""What is stored of a run of metaphys rl: its figures, paired differences, and pictures."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import result_tables

from metaphys._runs import RunDirectory
from metaphys.rl import METHODS, Config, run


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    path = result_tables.RESULTS / "rl.py"
    spec = importlib.util.spec_from_file_location("rl_results", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "HERE", tmp_path)
    return module


def test_a_run_becomes_two_results_with_pictures(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = tuple(name for name in METHODS if name != "mlp-rounds")
    config = dataclasses.replace(Config(methods=names, seeds=2).quick(), outer_iters=2, tasks=2)
    summary = run(config, RunDirectory(tmp_path / "run", config.to_json()))
    (tmp_path / "rl-seed-setting.json").write_text('{"loop": {"kept": 1}}')
    monkeypatch.setattr("sys.argv", ["rl.py", str(tmp_path / "run")])
    script.main()
    assert "rl-adapted: " in capsys.readouterr().out
    adapted, setting = (
        json.loads((tmp_path / f"{name}.json").read_text())
        for name in ("rl-adapted", "rl-seed-setting")
    )
    after = {name: found["after"] for name, found in summary["methods"].items()}
    assert adapted["values"] == [round(value, 3) for value in after["tabular"]["values"]]
    wanted = after["mlp"]["mean"] - after["maml"]["mean"]
    assert adapted["differences"]["mlp minus maml"]["mean"] == pytest.approx(wanted, abs=1e-3)
    assert setting["mean"] == pytest.approx(after["maml"]["mean"], abs=1e-3)
    assert [row[0] for row in setting["curve"]["rows"]] == [0, 2]
    assert setting["loop"] == {"kept": 1}
    for result, name in ((adapted, "rl-adapted"), (setting, "rl-seed-setting")):
        section = result_tables.section(name, result)
        assert result["command"] in section and "| planner |" in section
    assert {path.name for path in tmp_path.glob("*.svg")} == {
        "rl-adapted.svg",
        "rl-adapted-comparison.svg",
    }


@pytest.mark.parametrize("name", ["rl-adapted", "rl-seed-setting"])
def test_what_is_stored_is_consistent(name: str) -> None:
    found = json.loads((result_tables.RESULTS / f"{name}.json").read_text())
    assert len(found["values"]) == len(found["seeds"]) >= 5
    assert found["mean"] == pytest.approx(sum(found["values"]) / len(found["values"]), abs=1e-3)
    assert {"random", "planner", "optimal"} <= set(found["baselines"])


def test_pictures_of_a_result_are_on_the_page() -> None:
    page = result_tables.page()
    for path in result_tables.RESULTS.glob("*.svg"):
        assert f"(results/{path.name})" in page
