"""The report of meta-reinforcement learning: what a run left, and its pictures inside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from metaphys._runs import RunDirectory
from metaphys.rl import METHODS, Config
from metaphys.rl._report import PICTURES, returned, sentences, write_report
from metaphys.rl._results import CURVES, read_rl
from tests.training.runs import assert_stands_alone, replaced, text_of

LINES = {"random": 10.0, "one large step, tuned": 17.0, "planner": 20.5, "optimal": 21.5}
AFTER = {"maml": 10.2, "tabular": 20.4}


def spread(mean: float) -> dict[str, Any]:
    return {"mean": mean, "half": 0.25, "values": [mean - 0.02, mean + 0.02]}


def finished(path: Path, **options: Any) -> Path:
    """A run directory with everything that the report reads."""
    config = Config(methods=("maml", "tabular"), seeds=2, **options)
    run = RunDirectory(path, config.to_json())
    points = [(name, seed, at) for name in AFTER for seed in (0, 1) for at in (0, 10, 20)]
    curves: list[dict[str, Any]] = [
        dict(zip(CURVES, (*point, 10.0, 11.0 + point[2] / 10), strict=True)) for point in points
    ]
    run.write_metrics(curves, CURVES)
    parts = ("untrained", "before", "during", "planner on its data", "seconds", "cpu_seconds")
    methods = {
        name: {"about": METHODS[name].about, "after": spread(after)}
        | {part: spread(12.5) for part in parts}
        for name, after in AFTER.items()
    }
    lines = {name: spread(value) for name, value in LINES.items()}
    run.write_json("summary.json", {"lines": lines, "methods": methods})
    return path


def test_the_page_has_every_figure_and_stands_alone(tmp_path: Path) -> None:
    path = finished(tmp_path / "run")
    page = write_report([path])
    assert page == path / "report.html"
    seen = text_of(page)
    for name, after in AFTER.items():
        assert f"{METHODS[name].about} 12.50 ± 0.25 12.50 ± 0.25 12.50 ± 0.25 {after:.2f}" in seen
    for name, value in LINES.items():
        assert f"{name} {value:.2f} ± 0.25" in seen
    assert "the adapted policy of tabular returns 20.40 ± 0.25 (2 seeds)" in seen
    assert "the best policy of each task 21.50" in seen and "Beside it: maml 10.20" in seen
    assert_stands_alone(page, PICTURES)
    first = page.read_bytes()
    assert write_report([path]).read_bytes() == first


def test_runs_stand_one_after_the_other(tmp_path: Path) -> None:
    runs = [finished(tmp_path / str(tasks), tasks=tasks) for tasks in (20, 40)]
    seen = text_of(write_report(runs, tmp_path / "both.html"))
    assert all(f"Run {run}" in seen for run in runs)
    assert (tmp_path / "pictures" / "2-learning.svg").exists()


def test_what_is_shorter_than_a_quick_run_is_one_too() -> None:
    config = Config(outer_iters=1, tasks=2, test_tasks=3, evaluation_tasks=2, evaluate_every=1)
    assert config.quick() == config
    assert Config().quick().outer_iters == 4


def test_a_quick_run_says_nothing(tmp_path: Path) -> None:
    config = Config().quick()
    few = {name: getattr(config, name) for name in ("outer_iters", "tasks", "test_tasks")}
    few |= {name: getattr(config, name) for name in ("evaluate_every", "evaluation_tasks")}
    said = sentences(read_rl(finished(tmp_path / "run", **few)))
    assert len(said) == 1 and "figures mean nothing" in said[0]


def test_a_single_seed_has_no_interval() -> None:
    assert returned({"mean": 20.0, "half": None}) == "20.00"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("summary.json", "{}", "`summary.json` must be with something at lines"),
        ("summary.json", "[", "must hold readable files"),
        ("metrics.csv", "method\n", "`metrics.csv` must be with the columns"),
        ("metrics.csv", ",".join(CURVES) + "\nmaml,0,0,x,1\n", "no number where one is expected"),
        (
            "config.json",
            json.dumps({"kind": "metaphys run", "config": {"methods": ["maml"], "sed": 1}}),
            "config.json.*of no use",
        ),
    ],
)
def test_damaged_runs_are_refused_by_name(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    path = finished(tmp_path / "run")
    (path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        write_report([path])
    assert not (path / "report.html").exists()


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("lines", "planner"), None),
        (("lines", "planner", "mean"), "much"),
        (("lines", "optimal", "values"), []),
        (("methods", "maml"), []),
        (("methods", "maml", "about"), None),
        (("methods", "tabular", "after", "half"), "wide"),
        (("methods", "tabular", "seconds", "mean"), None),
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


def test_a_lost_point_of_a_curve_is_missed(tmp_path: Path) -> None:
    path = finished(tmp_path / "run")
    lines = (path / "metrics.csv").read_text().splitlines()
    (path / "metrics.csv").write_text("\n".join(lines[:4] + lines[5:]) + "\n")
    with pytest.raises(ValueError, match="one row for every method, seed and point"):
        write_report([path])


def test_an_option_that_a_run_does_not_tell_is_the_usual_one(tmp_path: Path) -> None:
    path = finished(tmp_path / "run")
    stored = json.loads((path / "config.json").read_text())
    del stored["config"]["test_tasks"]
    (path / "config.json").write_text(json.dumps(stored))
    assert "2,000" in text_of(write_report([path]))
