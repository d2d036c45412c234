"""Training, judging and the run that writes them down."""

from __future__ import annotations

import csv
import json

import pytest
import torch

from metaphys.rl import METHODS, Config, judge, rival_returns, run, sample_tasks, train
from metaphys.rl._train import TEST, generator_of, start_of


def _test_tasks(n: int):
    generator = generator_of(TEST, 0)
    return sample_tasks(n, generator=generator), generator


def test_it_learns_to_adapt():
    method = METHODS["tabular-one-round"]
    meta = train(method, 0, iters=60, tasks=20)
    tasks, generator = _test_tasks(100)
    before = judge(method, start_of(method, 0), tasks, generator).after.mean()
    after = judge(method, meta, tasks, generator).after.mean()
    assert after > 19 > before + 3


def test_exploration_is_learned():
    method = METHODS["tabular"]
    meta = train(method, 0, iters=60, tasks=20)
    tasks, generator = _test_tasks(100)
    before = judge(method, start_of(method, 0), tasks, generator).after.mean()
    assert judge(method, meta, tasks, generator).after.mean() > before + 2
    # The first three rounds try what they know little of: only DiCE can tell them to.
    assert meta.rounds["bonus"][:3].mean() > 0.1


@pytest.mark.parametrize("name", METHODS)
def test_every_method_trains_what_it_says(name):
    method = METHODS[name]
    start, meta = start_of(method, 3), train(method, 3, iters=1, tasks=2)
    changed = {
        group
        for group, tensors in meta.groups().items()
        if any(not torch.equal(one, other) for one, other in zip(tensors, start.groups()[group]))
    }
    assert changed <= set(method.learned)
    assert "start" in changed


def test_the_same_seed_gives_the_same_numbers():
    one, other = (train(METHODS["mlp"], 1, iters=2, tasks=3) for _ in range(2))
    for name, value in one.start.items():
        assert torch.equal(value, other.start[name])


def test_rivals_are_in_their_order():
    tasks, generator = _test_tasks(300)
    found = rival_returns(tasks, generator, torch.Generator().manual_seed(1))
    means = [found[name].mean().item() for name in found]
    assert [next(iter(found)), next(reversed(found))] == ["random", "optimal"]
    assert means[0] == pytest.approx(10.0, abs=0.3)
    assert 19 < means[1] < means[3] < means[4]
    assert means[3] == pytest.approx(20.1, abs=0.35)
    assert means[4] == pytest.approx(21.8, abs=0.3)
    assert (found["optimal"] >= found["planner"] - 1e-9).all()


def test_a_run_leaves_figures_and_pictures(tmp_path):
    config = Config(methods=("maml", "tabular"), seeds=2).quick()
    summary = run(config, tmp_path / "run")
    assert json.loads((tmp_path / "run" / "summary.json").read_text()) == summary
    assert set(summary["methods"]) == {"maml", "tabular"}
    assert len(summary["methods"]["maml"]["after"]["values"]) == 2
    with (tmp_path / "run" / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 2 * 3
    for name in ("learning", "comparison"):
        assert (tmp_path / "run" / "pictures" / f"{name}.svg").stat().st_size > 1000


@pytest.mark.parametrize(
    ("change", "name"),
    [({"methods": ("sarsa",)}, "methods"), ({"tasks": 0}, "tasks"), ({"seed": -1}, "seed")],
)
def test_a_wrong_configuration_is_refused_by_name(change, name):
    with pytest.raises(ValueError, match=name):
        Config(**change)
