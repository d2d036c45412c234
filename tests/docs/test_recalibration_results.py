"""The table of recalibration: made of the rows that are there, and of nothing else."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from metaphys.training.recalibration import RecalibrationConfig, build
from tests.docs.scripts import result_script

KEYS = (
    "experiment command commit seeds metric values mean published baselines physical_parameters "
    "digital_parameters"
).split()


script = result_script("recalibration_oscillators_table")
Book = result_script("_book").Book


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
    lines = script.table(script.collect(ROWS, "1"), "recalibrated, 250 calls", 2).splitlines()[2:]
    reached = [float(line.split("|")[2].split("±")[0]) for line in lines[:-1]]
    assert reached == sorted(reached, reverse=True) and reached[0] == 91.0
    assert "| 2 × 1 |" in lines[0] and "linear classifier" in lines[-1]


def test_without_rows_of_ours_there_is_no_result() -> None:
    with pytest.raises(ValueError, match="recalibrated"):
        script.collect(ROWS[3:], "1")


# Layers of crystals, plates and circuits ------------------------------------------------------

units_script = result_script("recalibration_units_table")


def unit_row(method: str, unit: int, reached: float, calls: int = 0, seed: int = 0) -> Any:
    return {"method": method, "seed": seed, "unit": unit, "calls": calls, "accuracy": reached}


UNIT_ROWS = [
    unit_row("recalibrated, 50 calls", 1, 0.80, 50),
    unit_row("recalibrated, 250 calls", 1, 0.90, 250),
    unit_row("recalibrated, 250 calls", 2, 0.70, 250),
    unit_row("recalibrated, 250 calls", 1, 0.10, 250, seed=1),
    unit_row("population start", 1, 0.60),
    unit_row("population start", 2, 0.50),
    unit_row("full training", 1, 1.00, 9999),
]


def test_the_gap_is_that_of_the_units_that_have_both_ends() -> None:
    found = units_script.compared(UNIT_ROWS)
    closed = units_script.closed(found, (10, 50, 250))
    assert closed == {"50": pytest.approx(0.5), "250": pytest.approx(0.75)}
    assert units_script.closed(units_script.compared(UNIT_ROWS[:-1]), (250,)) == {}


def test_a_result_is_stored_with_its_table(tmp_path: Path) -> None:
    setting = build(RecalibrationConfig(system="plate", layers=1, judged=30))
    page = tmp_path / "recalibration-plates.md"
    page.write_text("head\n<!-- table -->\nold\n<!-- end -->\nfoot\n")
    book = Book(tmp_path / "runs" / "rows.jsonl")
    book.rows = UNIT_ROWS[4:]
    units_script.store(setting, book, "plates", linear=0.5, folder=tmp_path)
    assert not page.with_suffix(".json").exists()  # nothing of ours yet
    book.rows = UNIT_ROWS
    for _ in range(2):
        with book.timed():
            time.sleep(0.06)
    units_script.store(setting, book, "plates", linear=0.5, folder=tmp_path)
    result = json.loads(page.with_suffix(".json").read_text())
    assert set(KEYS) <= set(result) and result["seeds"] == [0, 1]
    assert result["seconds"] >= 0.12
    assert result["mean"] == pytest.approx((0.9 + 0.7 + 0.1) / 3, abs=1e-5)
    assert result["gap_closed"]["250"] == pytest.approx(0.75)
    text = page.read_text()
    assert text.startswith("head\n") and text.endswith("foot\n") and "old" not in text
    assert "| full training | 100.0 | 9,999 | 1 × 1 |" in text and "75 % at 250" in text


settings = result_script("_recalibration_settings")
units_run = result_script("recalibration_units")


def test_what_the_nominal_twin_leaves_out_is_told_to_one_rival_alone() -> None:
    """Of circuits behind amplifiers; a plate's twin leaves nothing out, its rival searches."""
    nominal = settings.build_setting(RecalibrationConfig(system="circuit", layers=1, judged=30))
    found = settings.richer(nominal)
    rivals = units_run.rivals(nominal.guess, found.guess)
    alone, begun, told = rivals.values()
    new = set(told.guess.unknowns.names) - set(alone.guess.unknowns.names)
    assert new == {"source", "reading"} and begun.guess == alone.guess
    assert [each.start for each in rivals.values()] == [
        "in silico",
        "population start",
        "in silico",
    ]
    plate = build(RecalibrationConfig(system="plate", layers=1, judged=30))
    assert settings.richer(plate) is plate
    names = list(units_run.rivals(plate.guess, plate.guess))
    assert names == ["", " from the nearest of 1000 draws"]
    begun = units_run.rivals(nominal.guess, found.guess, "population start")
    starts = {name: rival.start for name, rival in begun.items()}
    assert starts == {
        "": "in silico",
        ", population start": "population start",
        " of the richer twin": "in silico",
        " of the richer twin, population start": "population start",
    }


def test_amplifiers_bound_what_goes_in_and_what_comes_out() -> None:
    (population,) = settings.build_setting(
        RecalibrationConfig(system="circuit", layers=1, judged=30)
    ).populations
    fleet = population.spread.perturb(population.system, [3, 4])
    unit = population.spread.single(population.system, 4)
    drive = 10 * torch.randn(2, 5, unit.ports.drive, generator=torch.Generator().manual_seed(0))
    readout = fleet(drive, {})
    torch.testing.assert_close(readout[1], unit(drive[1], {}))
    a, b = unit.limits
    assert 3 < a < 5 and 2.2 < b < 4 and not unit.limits.equal(fleet.limits[:, 0])
    driven = a * (drive[1] / a).tanh()
    expected = b * (population.spread.circuit.single(population.system, 4)(driven, {}) / b).tanh()
    torch.testing.assert_close(readout[1], expected)
