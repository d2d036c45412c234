"""Training, judging and the run that writes them down."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from metaphys._runs import RunDirectory, load_tensors
from metaphys.rl import (
    METHODS,
    Config,
    _experiment,
    _train,
    judge,
    rival_returns,
    run,
    sample_tasks,
    train,
)
from metaphys.rl._methods import OUTER_LRS
from metaphys.rl._train import TEST, TRAINING, generator_of, outer_gradients, start_of
from tests._runs.stopping import failing_at_every, finished_in_parts, killed_and_resumed


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


SECONDS = f"state/{_experiment.Phase._fields.index('seconds')}"
TINY = dataclasses.replace(Config(methods=("maml", "tabular")).quick(), outer_iters=5)


def _run(path: Path, resume: bool = False, config: Config = TINY) -> dict[str, Any]:
    return run(config, RunDirectory(path, config.to_json(), resume=resume))


def _assert_same(one: Path, other: Path) -> None:
    """All that a run leaves is the same to the bit, but for the time that it took."""
    assert (one / "metrics.csv").read_bytes() == (other / "metrics.csv").read_bytes()
    summaries = [json.loads((run / "summary.json").read_text()) for run in (one, other)]
    for method in (method for found in summaries for method in found["methods"].values()):
        assert all(taken > 0 for taken in method.pop("seconds")["values"])
        assert all(taken > 0 for taken in method.pop("cpu_seconds")["values"])
    assert summaries[0] == summaries[1]
    for name in ("maml-0", "tabular-0"):
        file = Path("checkpoints") / f"{name}.safetensors"
        ours, theirs = (load_tensors(run / file) for run in (one, other))
        assert ours.keys() == theirs.keys()
        assert all(ours[key].equal(theirs[key]) for key in ours if key != SECONDS)


def test_a_run_leaves_figures_and_pictures(tmp_path):
    summary = _run(tmp_path / "run", config=dataclasses.replace(TINY, seeds=2))
    assert json.loads((tmp_path / "run" / "summary.json").read_text()) == summary
    assert set(summary["methods"]) == {"maml", "tabular"}
    assert len(summary["methods"]["maml"]["after"]["values"]) == 2
    with (tmp_path / "run" / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["iteration"]) for row in rows] == 4 * [0, 2, 4]
    assert all(0 < float(row[name]) < 30 for row in rows for name in ("before", "after"))
    for name in ("learning", "comparison"):
        for kind in ("svg", "png"):
            assert (tmp_path / "run" / "pictures" / f"{name}.{kind}").stat().st_size > 1000


def test_interrupted_anywhere_a_run_ends_with_the_same_bits(tmp_path, monkeypatch):
    whole = _run(tmp_path / "whole")
    monkeypatch.setattr(_train, "outer_gradients", failing_at_every(4, _train.outer_gradients))
    # Looks at fresh tasks are part of a step: the next one must not have moved on.
    monkeypatch.setattr(_experiment, "judge", failing_at_every(7, _experiment.judge))
    parts, times = finished_in_parts(lambda resume: _run(tmp_path / "parts", resume))
    assert times >= 3
    assert parts["lines"] == whole["lines"]
    _assert_same(tmp_path / "parts", tmp_path / "whole")


RUN = """
import sys, torch
from pathlib import Path
from tests.rl.test_experiment import _run
torch.set_default_dtype(torch.float64)
path = Path(sys.argv[1])
_run(path, path.exists())
"""


def test_killed_without_warning_a_run_ends_with_the_same_bits(tmp_path):
    _run(tmp_path / "whole")
    killed_and_resumed(RUN, tmp_path / "killed", "tabular-0")
    _assert_same(tmp_path / "killed", tmp_path / "whole")


def test_the_outer_step_is_that_of_torchs_adam():
    method = METHODS["maml-exact"]
    start = start_of(method, 4)
    params = {name: start.groups()[name] for name in method.learned}
    rates = {"start": method.outer_lr, **OUTER_LRS}
    torchs = torch.optim.Adam([{"params": params[name], "lr": rates[name]} for name in params])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(torchs, 3)
    generator = generator_of(TRAINING, 4)
    for _ in range(3):
        torchs.zero_grad()
        outer_gradients(method, start, sample_tasks(5, generator=generator), generator)
        torchs.step()
        schedule.step()
    found = train(method, 4, iters=3, tasks=5).groups()
    for name in method.learned:
        torch.testing.assert_close(found[name], params[name], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("change", "name"),
    [({"methods": ("sarsa",)}, "methods"), ({"tasks": 0}, "tasks"), ({"seed": -1}, "seed")],
)
def test_a_wrong_configuration_is_refused_by_name(change, name):
    with pytest.raises(ValueError, match=name):
        Config(**change)
