"""What is stored of units that drift: made of finished runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metaphys.training.drifting._results import read_drift
from tests.docs.scripts import result_script
from tests.training.test_drifting import made_up

script = result_script("drift")
page = result_script("drift_page")


@pytest.fixture
def result(tmp_path: Path) -> dict[str, Any]:
    """Two units under a filter, and left alone."""
    run = read_drift(made_up(tmp_path / "run", config=script.EXPERIMENTS["circuit"]))
    return json.loads(json.dumps(script.summary({"circuit": run}, {"circuit": 6.2})))


def test_what_was_kept_is_relative_to_the_first_day(result: dict[str, Any]) -> None:
    assert result["values"] == pytest.approx([0.8, 0.9]) and result["mean"] == pytest.approx(0.85)
    assert result["baselines"] == {"circuit, no adaptation": {"mean": 0.4}}
    assert result["seconds"] == {"circuit": 6}
    of = result["systems"]["circuit"]["filter"]
    # Days are of all units: 0.7 and 0.55 after 0.75.
    assert of["worst interval"] == pytest.approx(0.55 / 0.75, abs=1e-6)
    assert of["worst unit"] == pytest.approx(0.8) and of["fresh"] == pytest.approx(0.75)
    assert of["calls"] == 48  # of 50, three layers
    assert any("5 of 0.01" in note for note in result["notes"])


def test_systems_that_did_not_run_stay_as_they_were(result: dict[str, Any], tmp_path: Path) -> None:
    run = read_drift(made_up(tmp_path / "other", config=script.EXPERIMENTS["plate"]))
    both = json.loads(json.dumps(script.summary({"plate": run}, {"plate": 2.0}, result)))
    for part in ("systems", "learned", "commits", "seconds"):
        assert list(both[part]) == ["circuit", "plate"]
        assert both[part]["circuit"] == result[part]["circuit"]
    assert both["runs"][: len(result["runs"])] == result["runs"]
    assert both["values"] == pytest.approx([0.8, 0.9] * 2)
    again = script.summary({"plate": run}, {"plate": 2.0}, both)
    assert json.loads(json.dumps(again)) == both


def test_the_page_has_a_row_for_each_method_and_the_picture_a_curve(result: dict[str, Any]) -> None:
    rows = page.table(result).splitlines()[2:]
    assert [row.removeprefix("| circuit | ") for row in rows] == [
        "filter | 48 | 2 | 75.0 | 85.0 ± 63.5 | 73.3 | 80.0 | 55.0 |",
        "no adaptation | 0 | 2 | 75.0 | 40.0 ± 0.0 | 20.0 | 40.0 | 15.0 |",
    ]
    (axes,) = page.picture(result).axes
    drawn = {line.get_label(): list(np.asarray(line.get_ydata())) for line in axes.lines}
    assert drawn["filter"] == pytest.approx([75, 70, 55])
    assert drawn["no adaptation"] == pytest.approx([75, 45, 15])


@pytest.mark.parametrize("system", ["circuit", "plate", "shg"])
def test_settings_name_walks_that_their_mismatches_have(system: str) -> None:
    config = script.EXPERIMENTS[system]
    assert config.units == 10 and config.intervals == 50 and config.calls <= 50
    assert config.drives >= 1
