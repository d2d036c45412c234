"""The report says what the numbers say, and no more."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from metaphys.training import Config
from metaphys.training._findings import headline
from metaphys.training._pictures import course as drawn_course
from metaphys.training._reading import read_run
from metaphys.training._report import PICTURES, write_report
from metaphys.training._results import groups
from metaphys.training._statistics import difference, estimate, half_interval, methods
from tests.training.runs import (
    METHODS,
    assert_stands_alone,
    finished,
    replaced,
    rows,
    text_of,
)


def test_interval_is_scipys() -> None:
    values = [0.5, 0.61, 0.58, 0.7]
    low, high = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    half = half_interval(values)
    assert half == pytest.approx((high - low) / 2)
    assert half_interval([0.5]) is None


def test_interval_is_the_wider_of_units_and_seeds() -> None:
    by_seed = [(seed, unit, 0.1 * seed + 0.001 * unit) for seed in range(3) for unit in range(8)]
    found = estimate(by_seed)
    assert found.over_seeds == pytest.approx(half_interval([0.0, 0.1, 0.2]))
    assert found.over_units == pytest.approx(half_interval([0.001 * unit for unit in range(8)]))
    assert found.half == found.over_seeds
    by_unit = [(seed, unit, 0.1 * unit + 0.001 * seed) for seed in range(3) for unit in range(8)]
    assert estimate(by_unit).half == estimate(by_unit).over_units


def test_differences_are_paired_by_seed_and_unit() -> None:
    found = methods(rows(units=8))
    one, other = found["meta-learned"], found["population start"]
    gain = difference(one, other)
    assert gain is not None
    pairs = [a[2] - b[2] for a, b in zip(one.values, other.values)]
    assert gain.mean == pytest.approx(np.mean(pairs))
    assert gain.half == pytest.approx(half_interval(pairs))
    linear = difference(one, found["linear classifier"])
    assert linear is not None
    assert linear.units == 8
    assert linear.mean == pytest.approx(one.accuracy.mean - 0.95)


def test_methods_that_share_no_unit_have_no_difference() -> None:
    ours = rows()
    moved = [{**row, "unit": row["unit"] + 100} for row in ours if row["method"] == "in silico"]
    rest = [row for row in ours if row["method"] != "in silico"]
    found = methods(rest + moved)
    assert difference(found["meta-learned"], found["in silico"]) is None


@pytest.mark.parametrize(
    ("mean", "says"),
    [
        (0.85, "Meta-learning is above the start trained over the population by 4.7 ±"),
        (0.802, "Meta-learning is NOT shown to be above the start trained over the population"),
        (0.70, "Meta-learning is NOT above the start trained over the population: it is below"),
    ],
)
def test_headline_says_whether_meta_learning_wins(mean: float, says: str) -> None:
    sentences = headline(methods(rows(units=8, reached=mean)), quick=False)
    assert sentences[1].startswith(says)
    assert ("includes 0" in sentences[1]) == ("shown" in says)
    assert "paired over 8 units" in sentences[1]


def test_headline_gives_the_cost_and_the_linear_classifier() -> None:
    sentences = headline(methods(rows()), quick=False)
    assert sentences[0].startswith("Adapted with 50 labels and 250 device calls, a unit never seen")
    assert "95.0 %: not less than the adapted unit" in sentences[-1]


@pytest.mark.parametrize(("best", "doubted"), [(0.01, True), (0.1, False), (1.0, True)])
def test_a_sweep_that_ends_at_its_best_rate_is_doubted(best: float, doubted: bool) -> None:
    kind = {"optimizer": "SGD", "loss": "squared error"}
    trials = [{**kind, "lr": lr, "accuracy": 0.5 + (lr == best)} for lr in (0.01, 0.1, 1.0)]
    trials.append({**kind, "optimizer": "Adam", "lr": 5.0, "accuracy": 0.2})
    sentences = headline(methods(rows()), quick=False, sweeps={"in silico": trials})
    assert any("edge of those tried" in sentence for sentence in sentences) == doubted


def test_a_quick_run_decides_nothing(tmp_path: Path) -> None:
    run, _ = finished(tmp_path / "quick", **Config().quick().to_json())
    seen = text_of(write_report([run]))
    assert "figures mean nothing" in seen
    assert "Meta-learning is above" not in seen
    assert "nothing: a quick run" in seen


def test_one_unit_shows_nothing_about_others(tmp_path: Path) -> None:
    run, _ = finished(tmp_path / "run", rows(units=1))
    seen = text_of(write_report([run]))
    assert "shows nothing about others" in seen
    assert "unknown: one unit" in seen


def test_page_has_every_figure_and_stands_alone(tmp_path: Path) -> None:
    run, _ = finished(tmp_path / "run")
    page = write_report([run])
    assert page == run / "report.html"
    seen = text_of(page)
    for name, found in methods(rows()).items():
        assert name in seen
        assert f"{100 * found.accuracy.mean:.1f}" in seen
    for part in ("32,000", "a batch or vmap of B counts B", "SGD, cross entropy, lr 0.1", "1.5 s"):
        assert part in seen
    assert "Full training of 2 of 2 units ended before it was flat" in seen
    assert_stands_alone(page, PICTURES)


def test_courses_are_means_over_runs_drawn_against_steps_and_milliseconds(tmp_path: Path) -> None:
    runs = []
    for seed, (reached, seconds) in enumerate([([0.5, 0.7, 0.8], 0.02), ([0.6, 0.8, 0.8], 0.04)]):
        run, _ = finished(tmp_path / str(seed), seed=seed, adapt_steps=2)
        course = {"meta-learned": {"accuracy": reached, "seconds": seconds}}
        replaced(run / "summary.json", "courses", by=course)
        runs.append(read_run(run))
    (group,) = groups(runs)
    (name, (mean, taken)), *others = group.courses().items()
    assert not others and name == "meta-learned" and taken == pytest.approx(0.03)
    assert mean == pytest.approx([0.55, 0.75, 0.8])
    left, right = drawn_course(group.courses()).axes
    for axes, along in ((left, [0, 1, 2]), (right, [0, 15, 30])):  # steps, ms
        (line,) = axes.lines
        x, y = (np.asarray(each).tolist() for each in line.get_data())
        assert x == pytest.approx(along) and y == pytest.approx([55, 75, 80])


def test_the_same_run_gives_the_same_page(tmp_path: Path) -> None:
    run, _ = finished(tmp_path / "run")
    first = write_report([run]).read_bytes()
    assert write_report([run]).read_bytes() == first


def test_values_are_escaped(tmp_path: Path) -> None:
    metrics = [*rows(), {**rows()[1], "method": "<script>alert(1)</script>"}]
    run, _ = finished(tmp_path / "run", metrics)
    source = write_report([run]).read_text(encoding="utf-8")
    assert "<script" not in source
    assert "&lt;script&gt;" in source


def test_seeds_are_pooled(tmp_path: Path) -> None:
    runs = [finished(tmp_path / str(seed), seed=seed)[0] for seed in range(3)]
    seen = text_of(write_report(runs, tmp_path / "all.html"))
    assert "3 seeds (0, 1, 2)" in seen
    assert "paired over 4 units and 3 seeds" in seen
    assert (tmp_path / "pictures" / "accuracy.svg").exists()
    assert not (runs[0] / "report.html").exists()


def test_other_configurations_stand_beside_each_other(tmp_path: Path) -> None:
    runs = [finished(tmp_path / str(x), coupling_spread=x)[0] for x in (0.5, 1.5)]
    seen = text_of(write_report(runs))
    assert "2 configurations compared" in seen
    assert "coupling_spread = 0.5" in seen
    assert "coupling_spread = 1.5" in seen
    assert (runs[0] / "pictures" / "2-accuracy.svg").exists()


def test_a_report_without_curves_and_summary_is_shorter(tmp_path: Path) -> None:
    run, _ = finished(tmp_path / "run")
    (run / "curves.json").unlink()
    (run / "summary.json").unlink()
    write_report([run])
    stored = {path.stem for path in (run / "pictures").iterdir()}
    assert stored == {"accuracy", "cost"}


def test_results_of_others_are_shown_without_a_verdict(tmp_path: Path) -> None:
    strange = [{**row, "method": f"my {row['method']}"} for row in rows()]
    run, _ = finished(tmp_path / "run", strange)
    seen = text_of(write_report([run]))
    assert "my full training" in seen
    assert "Meta-learning is" not in seen


def write(name: str, content: str) -> Callable[[Path], None]:
    def damage(run: Path) -> None:
        (run / name).write_text(content)

    return damage


def courses(value: str) -> str:
    """A curve whose accuracies of each unit are damaged."""
    return f'{{"p": {{"step": [1], "loss": [0.5], "accuracy": [{value}]}}}}'


TRIAL = {"optimizer": "SGD", "loss": "squared error", "lr": 0.1}
HEAD = "method,seed,unit,labels,device_calls,accuracy\n"


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (lambda run: (run / "metrics.csv").unlink(), FileNotFoundError, "with a metrics.csv"),
        (lambda run: (run / "config.json").unlink(), ValueError, "readable config.json"),
        (write("metrics.csv", HEAD), ValueError, "metrics.csv` must be of some rows"),
        (
            write("metrics.csv", HEAD + "a,0,1,5,9,1.2\n"),
            ValueError,
            "from 0 to 1, but got 1.2 in .*line 2",
        ),
        (
            write("metrics.csv", HEAD + "a,0,1,5,9,nan\n"),
            ValueError,
            "from 0 to 1, but got nan in .*line 2",
        ),
        (write("metrics.csv", HEAD + "a,0,1,5,9,.5\n" * 2), ValueError, "one row for each method"),
        (write("curves.json", "{"), ValueError, "curves.json"),
        (write("curves.json", "[]"), ValueError, "curves.json"),
        (write("curves.json", '{"p": {"step": [1], "loss": []}}'), ValueError, "curves.json.*'p'"),
        (write("curves.json", courses("[]")), ValueError, r"p\.accuracy\[0\]"),
        (write("curves.json", courses("0.5")), ValueError, r"p\.accuracy\[0\]"),
        (write("summary.json", '{"fine_tuning": {}}'), ValueError, "summary.json.*fine_tuning"),
        (
            write("summary.json", json.dumps({"fine_tuning": {"sweep": [TRIAL]}})),
            ValueError,
            "summary.json.*accuracy",
        ),
        (write("config.json", '{"kind": "metaphys run"}'), ValueError, "run_dir"),
        (
            write("config.json", '{"kind": "metaphys run", "config": {"labels": "many"}}'),
            ValueError,
            "config.json",
        ),
        (
            write("config.json", '{"kind": "metaphys run", "config": {"labls": 3}}'),
            ValueError,
            "config.json.*labls",
        ),
    ],
)
def test_damaged_runs_are_refused_by_name(
    tmp_path: Path, damage: Callable[[Path], None], error: type[Exception], message: str
) -> None:
    run, _ = finished(tmp_path / "run")
    damage(run)
    with pytest.raises(error, match=message):
        write_report([run])
    assert not (run / "report.html").exists()


@pytest.mark.parametrize(
    ("name", "place", "value"),
    [
        ("curves.json", ("in silico", "loss", 1), None),
        ("curves.json", ("in silico", "step", 0), "first"),
        ("curves.json", ("in silico",), []),
        ("summary.json", ("courses",), []),
        ("summary.json", ("courses", "meta-learned"), None),
        ("summary.json", ("courses", "meta-learned", "seconds"), "short"),
        ("summary.json", ("courses", "meta-learned", "accuracy", 0), None),
        ("summary.json", ("courses", "meta-learned", "accuracy"), [0.5]),
        ("summary.json", ("fine_tuning", "sweep", 0), 1),
        ("summary.json", ("fine_tuning", "sweep", 0, "lr"), None),
        ("summary.json", ("seconds",), 3.5),
        ("summary.json", ("seconds", "meta-learning"), "long"),
    ],
)
def test_figures_that_cannot_be_shown_are_named(
    tmp_path: Path, name: str, place: tuple[Any, ...], value: Any
) -> None:
    run, _ = finished(tmp_path / "run")
    replaced(run / name, *place, by=value)
    with pytest.raises(
        ValueError, match=rf"^`{name}` must be .*{place[0]}.* in /.*{name}.*--resume"
    ):
        write_report([run])
    assert not (run / "report.html").exists()


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"method,seed\x00,unit\n"])
def test_metrics_that_are_no_text_are_named(tmp_path: Path, content: bytes) -> None:
    run, _ = finished(tmp_path / "run")
    (run / "metrics.csv").write_bytes(content)
    with pytest.raises(ValueError, match=r"^`metrics.csv` must be "):
        write_report([run])


def test_where_no_page_can_be_written_is_named(tmp_path: Path) -> None:
    run, _ = finished(tmp_path / "run")
    (tmp_path / "file").touch()
    with pytest.raises(
        OSError, match=r"^`output` must be in a folder that can be made and written"
    ):
        write_report([run], tmp_path / "file" / "page.html")
    assert not (run / "pictures").exists()


def test_the_same_run_twice_is_refused(tmp_path: Path) -> None:
    run, _ = finished(tmp_path / "run")
    with pytest.raises(ValueError, match="Compare runs of different seeds"):
        write_report([run, run])
    with pytest.raises(ValueError, match="at least one directory"):
        write_report([])
    with pytest.raises(ValueError, match=r"`output` .*ends in \.html.*x\.pdf"):
        write_report([run], tmp_path / "x.pdf")


def test_every_method_has_a_look_of_its_own() -> None:
    from metaphys.training._styles import STYLES

    assert list(STYLES) == list(METHODS)
    colours, markers = zip(*STYLES.values())
    assert len(set(colours)) == len(set(markers)) == len(METHODS)
