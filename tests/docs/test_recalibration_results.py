"""The table of recalibration: made of the rows that are there, and of nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from tests.docs.scripts import result_script

KEYS = (
    "experiment command commit seeds metric values mean published baselines physical_parameters "
    "digital_parameters"
).split()


script = result_script("recalibration_oscillators_table")


def row(method: str, unit: int, reached: float, budget: int = 0, **other: Any) -> dict[str, Any]:
    known = {"label": "limit 4", "seed": 0, "calls": min(budget, 60)}
    return {**known, "method": method, "unit": unit, "budget": budget, "accuracy": reached, **other}


ROWS = [
    row("recalibrated", 1, 0.90, 250),
    row("recalibrated", 2, 0.92, 250),
    row("recalibrated", 1, 0.80, 50),
    row("in silico", 1, 0.6),
    row("in silico", 2, 0.7),
    row("in silico", 1, 0.85, label="no limit"),
]


def test_the_result_is_that_of_the_greatest_budget_and_limited() -> None:
    found = script.collect(ROWS, "2")
    assert set(KEYS) <= set(found)
    assert found["experiment"] == "recalibration-oscillators-mnist-wide"
    assert found["values"] == [0.90, 0.92] and found["mean"] == pytest.approx(0.91)
    assert found["units_per_seed"] == 2 and found["device_calls"] == 60
    assert found["baselines"]["in silico"]["mean"] == pytest.approx(0.65)
    assert found["baselines"]["in silico, no limit of the couplings"]["units"] == 1
    assert found["baselines"]["recalibrated, 50 calls"]["mean"] == 0.80
    assert found["paired_gain"]["in silico"]["mean"] == pytest.approx(0.26)


def test_the_table_is_sorted_and_says_how_many_units() -> None:
    lines = script.table(script.collect(ROWS, "1")).splitlines()[2:]
    reached = [float(line.split("|")[2].split("±")[0]) for line in lines[:-1]]
    assert reached == sorted(reached, reverse=True) and reached[0] == 91.0
    assert "| 2 × 1 |" in lines[0] and "linear classifier" in lines[-1]


def test_without_rows_of_ours_there_is_no_result() -> None:
    with pytest.raises(ValueError, match="recalibrated"):
        script.collect(ROWS[3:], "1")
