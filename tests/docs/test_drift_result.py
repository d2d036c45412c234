"""What is stored of units that drift: made of the runs that are there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.docs.scripts import result_script

script = result_script("drift")
page = result_script("drift_page")


def run(unit: int, method: str, *accuracy: float) -> dict[str, Any]:
    named = {"system": "shg", "unit": unit, "method": method, "seconds": 2.0}
    return {**named, "accuracy": list(accuracy)}


@pytest.fixture
def result(tmp_path: Path) -> dict[str, Any]:
    """Two units under a filter, one of them also left alone."""
    book = script.Book(tmp_path / "drift.json")
    book.runs = [
        run(20_000, "filter", 1.0, 0.9, 0.7),
        run(20_001, "filter", 0.5, 0.5, 0.4),
        run(20_000, "no adaptation", 1.0, 0.6, 0.2),
    ]
    book.store()
    return script.Book(tmp_path / "drift.json").summary()


def test_what_was_kept_is_relative_to_the_first_day(result: dict[str, Any]) -> None:
    assert result["values"] == pytest.approx([0.8, 0.9]) and result["mean"] == pytest.approx(0.85)
    assert result["baselines"] == {"shg, no adaptation": {"mean": 0.4}}
    assert result["seconds"] == 6
    of = result["systems"]["shg"]["filter"]
    # Days are of all units: 0.7 and 0.55 after 0.75.
    assert of["worst interval"] == pytest.approx(0.55 / 0.75, abs=1e-6)
    assert of["worst unit"] == pytest.approx(0.8) and of["fresh"] == pytest.approx(0.75)


def test_the_page_has_a_row_for_each_method_and_the_picture_a_curve(result: dict[str, Any]) -> None:
    rows = page.table(result).splitlines()[2:]
    assert [row.removeprefix("| second-harmonic generation | ") for row in rows] == [
        "filter | 10 | 2 | 75.0 | 83.3 | 73.3 | 80.0 | 55.0 |",
        "no adaptation | 0 | 1 | 100.0 | 40.0 | 20.0 | 40.0 | 20.0 |",
    ]
    (panel,) = page.picture(result).axes
    assert [list(line.get_ydata()) for line in panel.lines] == [
        pytest.approx([0.75, 0.7, 0.55]),
        pytest.approx([1.0, 0.6, 0.2]),
    ]
