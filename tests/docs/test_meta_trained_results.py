"""What is stored of runs of ``metaphys meta-train``, and where its table is shown."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.docs.scripts import result_script
from tests.training.runs import METHODS, finished

script = result_script("meta_trained")


def test_the_mean_and_the_gains_are_those_of_the_rows(tmp_path: Path) -> None:
    runs = [finished(tmp_path / f"run-{seed}", seed=seed, units=4)[0] for seed in (0, 1)]
    result, shown = script.collect("some-name", runs)
    assert result["seeds"] == [0, 1]
    assert len(result["values"]) == 8
    assert result["mean"] == pytest.approx(sum(result["values"]) / 8, abs=1e-5)
    assert result["baselines"].keys() == METHODS.keys() - {"meta-learned"}
    gain = result["paired_gain"]["population start"]["mean"]
    assert gain == pytest.approx(result["mean"] - result["baselines"]["population start"], abs=1e-4)
    assert result["seconds"] == [1.5, 1.5]
    assert shown.count("\n| ") == len(METHODS) + 1
    assert f"| **meta-learned** | {100 * result['mean']:.1f} ± " in shown


def test_the_command_names_what_is_not_usual(tmp_path: Path) -> None:
    options = {"system": "plate", "layers": 2, "learn": ("start", "correction")}
    run, _ = finished(tmp_path / "run", seed=3, **options)
    result, _ = script.collect("plates", [run])
    expected = "--seed S --system plate --layers 2 --learn start correction --run-dir runs/plates-S"
    assert result["command"] == f"metaphys meta-train {expected}"
    # The last layer of the network is digital: ten logits, a matrix and an offset.
    assert result["digital_parameters"] == 1 + 10 * 10 + 10


@pytest.mark.parametrize("changes", [{"seed": 1, "units": 5}, {"seed": 0}])
def test_runs_of_different_settings_are_not_averaged(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    one, _ = finished(tmp_path / "one", seed=0)
    other, _ = finished(tmp_path / "other", **changes)
    with pytest.raises(ValueError, match="differ by their seed and nothing else"):
        script.collect("mixed", [one, other])


def test_a_table_goes_where_its_name_stands(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- one -->\nold\n<!-- end -->\nb\n<!-- two -->\n<!-- end -->\nc\n")
    script.write(page, "new\n", "two")
    script.write(page, "first\n", "one")
    assert page.read_text() == (
        "a\n<!-- one -->\nfirst\n<!-- end -->\nb\n<!-- two -->\nnew\n<!-- end -->\nc\n"
    )
    with pytest.raises(ValueError, match="three"):
        script.write(page, "", "three")
    assert "first" in page.read_text()


def test_every_stored_result_has_a_place() -> None:
    names = [
        path.stem
        for path in script.HERE.glob("*.json")
        if json.loads(path.read_text()).get("command", "").startswith("metaphys meta-train")
    ]
    assert "recalibration-digits" in names
    for name in names:
        page = script.page_of(name)
        mark = "table" if page != script.HOW_TO else name
        assert f"<!-- {mark} -->\n" in page.read_text()


def test_every_place_shows_the_stored_result() -> None:
    found = re.findall(r"<!-- (\S+) -->\n(.*?)<!-- end -->", script.HOW_TO.read_text(), re.DOTALL)
    assert len(found) >= 4
    for name, shown in found:
        stored = json.loads((script.HERE / f"{name}.json").read_text())
        assert f"`{stored['command']}`" in shown and f"revision {stored['commit']})" in shown
        (own,) = re.findall(r"\| \*\*meta-learned\*\* \| (\S+) ± (\S+) \|", shown)
        assert own == tuple(f"{100 * stored[key]:.1f}" for key in ("mean", "interval"))
        for method, mean in stored["baselines"].items():
            assert re.search(rf"\n\| {re.escape(method)} \| {100 * mean:.1f} [|±]", shown), method
