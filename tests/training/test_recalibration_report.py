"""The report of a recalibration says what the numbers say, the classical rival first."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from metaphys.training import RecalibrationConfig, RunDirectory
from metaphys.training._statistics import methods
from metaphys.training.recalibration._findings import headline
from metaphys.training.recalibration._names import family
from metaphys.training.recalibration._notes import note
from metaphys.training.recalibration._pictures import LOOKS, calls, look, time
from metaphys.training.recalibration._report import PICTURES, write_report
from metaphys.training.recalibration._results import closed
from tests.training.runs import assert_stands_alone, replaced, text_of

BUDGETS = (50, 250)
TABLE = {
    # name: (mean accuracy, labels, device calls, seconds)
    "in silico": (0.50, 0, 0, 0.0),
    "start alone": (0.60, 0, 0, 0.0),
    "recalibrated, 50 calls": (0.84, 0, 50, 2.0),
    "recalibrated, 250 calls": (0.90, 0, 240, 4.0),
    "Gauss-Newton, 50 calls": (0.70, 0, 50, 3.0),
    "Gauss-Newton, 250 calls": (0.86, 0, 250, 8.0),
    "Gauss-Newton from 1000 draws, 50 calls": (0.84, 0, 50, 5.0),
    "Gauss-Newton from 1000 draws, 250 calls": (0.90, 0, 250, 9.0),
    "another unit's": (0.45, 0, 0, 0.0),
    "population start": (0.75, 0, 0, 0.0),
    "in silico + fine-tuning, 50 calls": (0.55, 25, 50, 0.1),
    "in silico + fine-tuning, 250 calls": (0.58, 125, 250, 0.2),
    "population start + fine-tuning, 50 calls": (0.76, 25, 50, 0.1),
    "population start + fine-tuning, 250 calls": (0.77, 125, 250, 0.2),
    "full training": (0.95, 200_000, 400_000, 60.0),
    "linear classifier": (0.88, 10_000, 0, 0.0),
}


def rows(
    seed: int = 0, units: int = 4, reached: Mapping[str, float] | None = None
) -> list[dict[str, Any]]:
    """Rows whose units lie around the means of the table; of some methods others are given."""
    found = []
    for name, (usual, labels, spent, _) in TABLE.items():
        mean = (reached or {}).get(name, usual)
        places = [-1] if name == "linear classifier" else range(20_000, 20_000 + units)
        for index, unit in enumerate(places):
            # Differences from method to method are not the same on every unit.
            ripple = 0 if unit < 0 else 0.01 * math.sin(index * len(name) + seed)
            row = {"method": name, "seed": seed, "unit": unit, "labels": labels}
            found.append({**row, "device_calls": spent, "accuracy": mean + ripple})
    return found


def finished(path: Path, units: int = 4, **options: Any) -> Path:
    """A run directory with everything that the report reads."""
    config = RecalibrationConfig(**{"budgets": BUDGETS, "units": units, **options})
    run = RunDirectory(path, config.to_json())
    found = rows(config.seed, units)
    run.write_metrics(found)
    curve = {"step": [1, 2, 3], "loss": [2.3, 1.1, 0.9]}
    trained = ("in silico", "meta start", "population start", "full training, unit 20000")
    curves: dict[str, Any] = dict.fromkeys(trained, curve)
    curves[trained[-1]] = {**curve, "accuracy": [[0.8, 0.95, *[0.9] * 5]]}
    run.write_json("curves.json", curves)
    kind = {"optimizer": "SGD", "loss": "cross entropy"}
    trials = [{**kind, "lr": lr, "accuracy": 0.6 - abs(lr - 0.1)} for lr in (0.01, 0.1, 0.3)]
    tuned = {"chosen": "SGD, lr 0.1", "sweep": trials}
    adapting: dict[str, list[float]] = {}
    for row in found:
        adapting.setdefault(row["method"], []).append(TABLE[row["method"]][3])
    starts = ("in silico", "population start")
    summary = {
        "rates": {f"{s} under {b} calls": tuned for s in starts for b in config.budgets},
        "adapting": adapting,
        "seconds": {"in silico": 1.5},
    }
    run.write_json("summary.json", summary)
    return path


# What is said -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mean", "says"),
    [
        (0.86, "is above the classical rival, Gauss-Newton, 250 calls by"),
        (0.90, "is NOT shown to be above the classical rival, Gauss-Newton, 250 calls"),
        (0.94, "is NOT above the classical rival, Gauss-Newton, 250 calls: it is below by"),
    ],
)
def test_the_headline_says_whether_the_classical_rival_is_beaten(mean: float, says: str) -> None:
    found = methods(rows(units=8, reached={"Gauss-Newton, 250 calls": mean}))
    first, second, *_ = headline(found, BUDGETS, quick=False)
    assert first.startswith("Recalibrated from 240 device calls, without labels, a unit never seen")
    reached = 100 * found["Gauss-Newton, 250 calls"].accuracy.mean
    assert f"; Gauss-Newton, then training on its twin, {reached:.1f} ±" in first
    assert second.startswith(f"Recalibration with 250 calls {says}")
    assert "paired over 8 units" in second


def test_every_variant_of_the_classical_rival_is_compared_under_every_budget() -> None:
    sentences = headline(methods(rows()), BUDGETS, quick=False)
    compared = [re.search(r"rival, (.+?)(?: by|: )", s) for s in sentences if "classical" in s]
    assert [each.group(1) for each in compared if each] == [
        "Gauss-Newton, 250 calls",
        "Gauss-Newton from 1000 draws, 250 calls",
        "Gauss-Newton, 50 calls",
        "Gauss-Newton from 1000 draws, 50 calls",
    ]
    assert "NOT shown to be above" in sentences[2]  # a tie


def test_the_other_rivals_are_told_after_it() -> None:
    found = methods(rows())
    sentences = " ".join(headline(found, BUDGETS, quick=False))
    part = closed(found, "recalibrated, 250 calls", "population start")
    assert part is not None and part == pytest.approx(0.75, abs=0.05)
    assert re.search(r"is above population start \+ fine-tuning, 250 calls by 1[23]\.\d", sentences)
    assert f"goes {100 * part:.0f} % of the way from the population start to full" in sentences
    assert "88.0 %: less than the adapted unit" in sentences


def test_the_gap_is_over_units_that_have_all_three() -> None:
    found = [row for row in rows() if row["method"] != "full training" or row["unit"] == 20_001]
    (own, low) = "recalibrated, 250 calls", "population start"
    at = {r["method"]: r["accuracy"] for r in found if r["unit"] == 20_001}
    expected = (at[own] - at[low]) / (at["full training"] - at[low])
    assert closed(methods(found), own, low) == pytest.approx(expected)
    without = [row for row in found if row["method"] != "full training"]
    assert closed(methods(without), own, low) is None
    below = [{**r, "accuracy": 0.1} if r["method"] == "full training" else r for r in found]
    assert closed(methods(below), own, low) is None


def test_a_quick_run_and_rows_of_others_decide_nothing() -> None:
    quick = headline(methods(rows()), BUDGETS, quick=True)
    assert "figures mean nothing" in quick[0] and len(quick) == 2
    others = methods([row for row in rows() if not row["method"].startswith("recal")])
    assert headline(others, BUDGETS, quick=False) == []


# The page ---------------------------------------------------------------------------------------


def test_the_page_has_every_figure_and_stands_alone(tmp_path: Path) -> None:
    path = finished(tmp_path / "run")
    page = write_report([path])
    assert page == path / "report.html"
    seen = text_of(page)
    for name, method in methods(rows()).items():
        row = f"{name} {100 * method.accuracy.mean:.1f}"
        assert row in seen
        assert note(family(name)) in seen
    for part in ("4 held-out units", "seed 0", "400,000", "time of in silico", "SGD, lr 0.1"):
        assert part in seen
    assert "ended before it was flat" not in seen
    assert_stands_alone(page, PICTURES)
    first = page.read_bytes()
    assert write_report([path]).read_bytes() == first


def test_seeds_are_pooled_and_other_configurations_stand_beside_each_other(tmp_path: Path) -> None:
    runs = [finished(tmp_path / str(seed), seed=seed) for seed in range(2)]
    runs.append(finished(tmp_path / "wide", spread=2.0))
    seen = text_of(write_report(runs, tmp_path / "all.html"))
    assert "2 configurations compared" in seen
    assert "2 seeds (0, 1)" in seen and "paired over 4 units and 2 seeds" in seen
    assert "spread = 1.0" in seen and "spread = 2.0" in seen
    assert (tmp_path / "pictures" / "2-calls.svg").exists()


# Pictures ---------------------------------------------------------------------------------------


def lines_of(figure: Any) -> dict[str, Any]:
    (axes,) = figure.axes
    return dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))


def test_budgets_of_a_method_are_joined_and_what_has_no_place_goes_across() -> None:
    figure = calls(methods(rows()))
    shown = lines_of(figure)
    assert set(shown) == {family(name) for name in TABLE}
    joined = shown["recalibrated"].lines[0]
    assert joined.get_ydata() == pytest.approx([84.0, 90.0], abs=1)
    assert joined.get_xdata()[0] < joined.get_xdata()[1]
    assert list(shown["full training"].get_xdata()) == [0, 1]  # all of the axis
    (axes,) = figure.axes
    assert len({shown[n].lines[0].get_xdata()[0] for n in ("in silico", "start alone")}) == 2
    assert [axes.xaxis.get_major_formatter()(at) for at in axes.get_xticks()] == [
        "0", "50", "240", "250"
    ]  # fmt: skip


def test_time_is_that_of_each_unit_and_methods_that_take_none_are_left_out() -> None:
    found = methods(rows())
    taken = {
        (name, seed, unit): TABLE[name][3] * (1 + unit % 2)
        for name, method in found.items()
        for seed, unit, _ in method.values
    }
    shown = lines_of(time(found, taken))
    assert "in silico" not in shown and "population start" not in shown
    assert shown["Gauss-Newton"].lines[0].get_xdata() == pytest.approx([4.5, 12.0])
    assert shown["full training"].lines[0].get_xdata() == pytest.approx([90.0])


def test_every_method_has_a_look_of_its_own() -> None:
    looks = [look(name) for name in dict.fromkeys(map(family, TABLE))]
    assert len(set(looks)) == len(looks) == 11
    colours, markers = zip(*looks, strict=True)
    assert len(set(markers)) == len(set(colours)) == 11
    assert look("recalibrated, 50 calls") == LOOKS["recalibrated"]


# Damage -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("summary.json", lambda text: "{}", "`summary.json` must be with something at rates"),
        ("summary.json", lambda text: "[", "readable files"),
        ("metrics.csv", lambda text: text.replace("recalibrated, 250", "x"), "`metrics.csv` must"),
        ("config.json", lambda text: text.replace('"spread"', '"spred"'), "config.json"),
    ],
)
def test_damaged_runs_are_refused_by_name(
    tmp_path: Path, name: str, change: Any, message: str
) -> None:
    path = finished(tmp_path / "run", units=1)
    file = path / name
    file.write_text(change(file.read_text()))
    with pytest.raises(ValueError, match=message):
        write_report([path])
    assert not (path / "report.html").exists()


def test_budgets_are_read_back(tmp_path: Path) -> None:
    config = RecalibrationConfig(budgets=(5, 9))
    assert RecalibrationConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
    with pytest.raises(ValueError, match="`config` must be of entries among"):
        RecalibrationConfig.from_json({"budget": [5]})


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("adapting",), None),
        (("adapting", "in silico"), 3),
        (("adapting", "in silico", 0), "x"),
        (("rates", "in silico under 250 calls"), []),
        (("rates", "in silico under 250 calls", "chosen"), None),
        (("rates", "in silico under 250 calls", "sweep"), []),
        (("rates", "in silico under 250 calls", "sweep", 0, "accuracy"), None),
        (("seconds", "in silico"), None),
    ],
)
def test_figures_that_cannot_be_shown_are_named(
    tmp_path: Path, place: tuple[Any, ...], value: Any
) -> None:
    path = finished(tmp_path / "run")
    replaced(path / "summary.json", *place, by=value)
    with pytest.raises(ValueError, match=rf"^`summary.json` must be .*{place[0]}.*--resume"):
        write_report([path])
    assert not (path / "report.html").exists()
