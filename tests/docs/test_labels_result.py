"""Adapting by labels alone: the rule, its derivative, and what is stored of the rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import optree
import pytest
import torch
from torch import Tensor

from metaphys.physics import OscillatorMismatch
from metaphys.training.recalibration import RecalibrationConfig, Setting, build
from tests.docs.scripts import result_script

labelled = result_script("_labelled")
table = result_script("recalibration_labels_table")
Book = result_script("_book").Book
STEPS, UNITS = 3, 2


@pytest.fixture
def setting() -> Setting:
    return build(RecalibrationConfig(coupling_limit=4.0))


@pytest.fixture
def samples(setting: Setting) -> tuple[Tensor, Tensor]:
    part = setting.data.train
    return part.inputs[:12].reshape(UNITS, 6, -1), part.targets[:12].reshape(UNITS, 6)


def first(setting: Setting) -> dict[str, Any]:
    """The rule with numbers that are not zero, from controls that are not small."""
    start = {name: 3 * value for name, value in setting.initial(0).items()}
    learned = labelled.begin(setting, start, STEPS)
    return {**learned, "momentum": torch.full((STEPS,), 0.4), "trust": torch.full((STEPS,), 0.7)}


def nominal(setting: Setting) -> Any:
    (array,) = setting.nominal
    still = OscillatorMismatch(gain=torch.zeros(UNITS, 1))
    return array.with_mismatch(still)  # pyright: ignore[reportAttributeAccessIssue]


def test_a_step_measures_every_label_once(setting: Setting, samples: Any) -> None:
    params, calls = labelled.adapt(setting, first(setting), nominal(setting), *samples)
    assert calls == STEPS * 6
    moved = params[labelled.COUPLING] - first(setting)["start"][labelled.COUPLING]
    assert moved.shape[0] == UNITS and bool((moved[0] != moved[1]).any())


def test_where_the_twin_is_right_and_no_label_trusted_nothing_moves(
    setting: Setting, samples: Any
) -> None:
    learned = {**first(setting), "trust": torch.zeros(STEPS)}
    params, _ = labelled.adapt(setting, learned, nominal(setting), *samples)
    for name, value in learned["start"].items():
        torch.testing.assert_close(params[name], value.expand(UNITS, *value.shape))


def test_the_derivative_is_that_of_central_differences(setting: Setting, samples: Any) -> None:
    learned, units = first(setting), nominal(setting)
    # On the nominal array the physics-aware gradient is exact but for what only the twin has.
    names = [name for name in learned if name != "gain"]
    source = torch.Generator().manual_seed(1)
    random = {
        n: optree.tree_map(lambda v: torch.randn(v.shape, generator=source), learned[n])
        for n in names
    }

    def after(amount: float | Tensor) -> Tensor:
        there = {
            n: optree.tree_map(lambda v, d: v + 0.01 * amount * d, learned[n], random[n])
            for n in names
        }
        given = {**learned, **there}
        params, _ = labelled.adapt(setting, given, units, *samples)
        return sum(value.sin().sum() for value in params.values())  # type: ignore[return-value]

    amount = torch.zeros((), requires_grad=True)
    (slope,) = torch.autograd.grad(after(amount), amount)
    differences = [(after(h) - after(-h)).detach() / (2 * h) for h in (1e-3, 2e-3)]
    assert float(slope.abs()) > 1e-3
    torch.testing.assert_close(slope, (4 * differences[0] - differences[1]) / 3, rtol=1e-5, atol=0)


def row(method: str, unit: int, reached: float, seed: int = 0, calls: int = 0) -> dict[str, Any]:
    return {"method": method, "seed": seed, "unit": unit, "calls": calls, "accuracy": reached}


ROWS = [
    row("meta-learned", 1, 0.93, calls=500),
    row("meta-learned", 2, 0.92, calls=500),
    row("meta-learned", 1, 0.94, seed=1, calls=500),
    row("population start", 2, 0.905),
    row("population start", 1, 0.91),
    row("population start", 1, 0.92, seed=1),
]


def test_the_result_is_in_points_over_the_population_start(tmp_path: Path) -> None:
    book = Book(tmp_path / "runs" / "rows.jsonl")
    page = tmp_path / "recalibration-labels-only.md"
    page.write_text("head\n<!-- table -->\nold\n<!-- end -->\nfoot\n")
    book.rows = ROWS[:3]
    table.store(book, tmp_path)
    assert not page.with_suffix(".json").exists()  # the rival is missing
    book.rows = ROWS
    table.store(book, tmp_path)
    found = json.loads(page.with_suffix(".json").read_text())
    assert found["values"] == [2.0, 1.5, 2.0] and found["seeds"] == [0, 1]
    assert found["mean"] == pytest.approx(5.5 / 3, abs=1e-3)
    assert found["accuracy"]["mean"] == pytest.approx(0.93) and found["device_calls"] == 500
    assert found["baselines"]["full training"]["mean"] > 0.9
    text = page.read_text()
    assert text.startswith("head\n") and text.endswith("foot\n") and "old" not in text
    assert "| **meta-learned** | 93.00" in text and "| linear classifier |" in text
    assert "NOT reached" in text  # the interval of so few holds zero
