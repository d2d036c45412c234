"""Vowels on units in ngspice after few calls: the budget, and what is stored of the rows."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from metaphys.data import Dataset, Split
from tests.docs.scripts import result_script

script = result_script("spice_vowels_adapted")
table = result_script("spice_vowels_adapted_table")
Book = result_script("_book").Book
rows = result_script("_rows")
UNIT = 10_003


@pytest.fixture
def case(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    torch.set_default_dtype(torch.float32)  # what a script has; the laboratory puts it back
    generator = torch.Generator().manual_seed(0)

    def part(count: int) -> Split:
        return Split(torch.rand(count, 12, generator=generator), torch.arange(count) % 7)

    made_up = Dataset("x", 7, (12,), part(40), part(7), part(20), linear_accuracy=None, source="")
    monkeypatch.setattr(script, "vowels", lambda root, seed, dtype: made_up)
    return script.Case(tmp_path, tmp_path, UNIT - script.TEST_UNITS, 0)


def test_fine_tuning_stays_within_the_calls_that_are_allowed(case: Any) -> None:
    start, rule = case.setting.initial(0), script.rules()["SGD, 0.1"]
    calls, params = case.tuned(start, UNIT, rule, spice=False)
    assert calls == 240
    assert all(bool((params[name] != value).any()) for name, value in start.items())


def test_the_rate_of_fine_tuning_is_chosen_by_no_test_vowel(
    case: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unseen:
        def __getattr__(self, name: str) -> Any:
            raise AssertionError(f"test vowels were asked for their {name}")

    monkeypatch.setattr(script, "RATES", {"SGD": (1e-6, 0.1)})
    monkeypatch.setattr(script, "TUNING", range(script.VALIDATION_UNITS, UNIT))
    case.start, asked = case.setting.initial(0), case.data
    case.data = dataclasses.replace(asked, test=Unseen())
    rule = script.chosen(case, "in silico")
    tried = json.loads((case.runs / "tuning-in-silico.json").read_text())
    assert set(tried) == {"SGD, 1e-06", "SGD, 0.1"}
    assert rule == script.rules()[max(tried, key=tried.__getitem__)]
    with pytest.raises(AssertionError, match="test vowels were asked"):
        case.judged(case.start, UNIT, spice=False)


def test_a_unit_is_measured_twice_a_layer_and_no_more(case: Any) -> None:
    layers = case.measured(UNIT, spice=False)
    for layer in layers:
        layer.first(script.BUDGET // len(layers))
    assert sum(layer.calls for layer in layers) == script.BUDGET == 6
    one, other = (layer.first(1) for layer in layers[:2])
    assert bool((one[0] != other[0]).any())


def test_full_training_calls_a_unit_as_often_as_it_says(
    case: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "EPOCH_STEPS", 2)
    devices, make = [], script.WithNoise

    def kept(*given: Any, **options: Any) -> Any:
        devices.append(make(*given, **options))
        return devices[-1]

    monkeypatch.setattr(script, "WithNoise", kept)
    training = case.full(UNIT, spice=False)
    state = training.begun
    for index in range(2):
        state = training.step(state, index)
    (course,) = script.courses(state)
    assert len(course) == 1 and training.epochs.looked_at is case.data.validation
    spent = script.LAYERS * training.epochs.measured(course)
    assert sum(device.calls for device in devices) == spent == 3 * (2 * 40 + 7)
    assert all(not state.best[name].equal(value) for name, value in training.begun.best.items())


def test_what_full_training_looks_at_it_is_not_trained_on() -> None:
    """Vowels come without validation: five of the 25 of each class are set aside."""
    inputs = torch.arange(175.0).unsqueeze(1)
    every = Split(inputs, torch.arange(175) % 7)
    none = Split(inputs[:0], every.targets[:0])
    data = Dataset("x", 7, (1,), every, none, none, linear_accuracy=None, source="")
    found = rows.with_validation(data)
    assert found.validation.targets.bincount().tolist() == [5] * 7
    both = torch.cat([found.train.inputs, found.validation.inputs]).flatten()
    assert both.sort().values.equal(inputs.flatten()) and found.test is none
    assert rows.with_validation(found) is found


def row(method: str, unit: int, split: int, reached: float, calls: int = 0) -> dict[str, Any]:
    return {"method": method, "unit": unit, "split": split, "calls": calls, "accuracy": reached}


@pytest.mark.parametrize(("full", "words"), [(0.97, "**reached**"), (0.99, "**NOT reached**")])
def test_the_result_is_paired_with_full_training(tmp_path: Path, full: float, words: str) -> None:
    book = Book(tmp_path / "runs" / "rows.jsonl")
    book.rows = [
        row(method, unit, split, reached, calls)
        for method, reached, calls in (("recalibrated", 0.96, 6), ("full training", full, 6000))
        for unit, split in ((1, 1), (2, 2), (1, 9))
    ]
    page = tmp_path / "spice-vowels-adapted.md"
    page.write_text("head\n<!-- table -->\nold\n<!-- end -->\nfoot\n")
    table.store(book, (252, 427), tmp_path)
    found = json.loads(page.with_suffix(".json").read_text())
    assert found["units"] == [1, 2] and found["splits_per_unit"] == 2
    assert found["mean"] == pytest.approx(0.96) and found["device_calls"] == 6
    gain = found["paired_gain"]["full training"]
    assert gain["mean"] == pytest.approx(0.96 - full) and gain["interval"] == pytest.approx(0)
    text = page.read_text()
    assert words in text and "| **recalibrated** | 96.0 ± 0.0 | 6 | 2 × 2 |" in text
