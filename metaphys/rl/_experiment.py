"""The experiment: methods and seeds, judged beside their rivals on tasks never seen in training."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from metaphys._runs import half_interval
from metaphys.rl._config import Config
from metaphys.rl._mdp import Tasks, sample_tasks
from metaphys.rl._meta import Meta
from metaphys.rl._methods import METHODS, Method
from metaphys.rl._results import CURVES
from metaphys.rl._rivals import planner_return, rival_returns
from metaphys.rl._train import (
    EVALUATION,
    TEST,
    Judgement,
    Learning,
    begin,
    generator_of,
    judge,
    outer_step,
    start_of,
)

if TYPE_CHECKING:  # safetensors, which it needs, comes with the extra `lab`
    from metaphys._runs import Progress, RunDirectory


class Phase(NamedTuple):
    """Meta-training with its learning curve: all that a stopped run goes on from.

    Attributes:
        learning: the state of meta-training.
        random: that of the generator of fresh tasks.
        curve: returns before and after adaptation (P, 2); NaN at points to come.
        seconds: wall and processor time spent (2,).
    """

    learning: Learning
    random: Tensor
    curve: Tensor
    seconds: Tensor


def run(
    config: Config, directory: RunDirectory, progress: Progress | None = None
) -> dict[str, Any]:
    """Train and judge every method with every seed, or what is left of it, and write what came out.

    Test tasks are the same for all methods of a seed; every method plays its own 20 trajectories
    on them.

    Args:
        config: what to do.
        directory: where; what is stored there already is not trained again. It gets ``metrics.csv``
            (learning curves), ``summary.json`` (returns on test tasks, with the rivals') and
            ``pictures/``.
        progress: who listens.

    Returns:
        What ``summary.json`` holds.

    Example:
        >>> import tempfile
        >>> from metaphys.training import RunDirectory
        >>> config = Config(methods=("maml",)).quick()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     summary = run(config, RunDirectory(folder, config.to_json()))
        >>> list(summary["methods"])
        ['maml']
    """
    from metaphys._runs import Silent
    from metaphys.rl._pictures import draw_pictures  # matplotlib, only when it is wanted

    threads = torch.get_num_threads()
    torch.set_num_threads(config.threads)
    try:
        rows, results, rivals = _all(config, directory, progress or Silent())
    finally:
        torch.set_num_threads(threads)
    summary = {
        "config": config.to_json(),
        "lines": {name: estimate(values) for name, values in rivals.items()},
        "methods": {name: _summary(METHODS[name], found) for name, found in results.items()},
    }
    directory.write_metrics(rows, CURVES)
    directory.write_json("summary.json", summary)
    draw_pictures(rows, summary, directory.path / "pictures")
    return summary


def _all(
    config: Config, directory: RunDirectory, progress: Progress
) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    results: dict[str, list[dict[str, float]]] = {name: [] for name in config.names}
    rivals: dict[str, list[float]] = {}
    for seed in range(config.seed, config.seed + config.seeds):
        generator = generator_of(TEST, seed)
        test = sample_tasks(config.test_tasks, generator=generator)
        found = rival_returns(test, generator, generator_of(EVALUATION, seed))
        for name, values in found.items():
            rivals.setdefault(name, []).append(values.mean().item())
        for name in config.names:
            with progress.phase(f"{name}, seed {seed}", config.outer_iters) as advance:
                end = directory.run_phase(
                    f"{name}-{seed}",
                    _begin(name, seed, config),
                    _step(name, config),
                    config.outer_iters,
                    advance=advance,
                )
            rows += _rows(name, seed, config, end.curve)
            results[name].append(_result(name, seed, test, end))
    return rows, results, rivals


def _begin(name: str, seed: int, config: Config) -> Phase:
    points = config.outer_iters // config.evaluate_every + 1
    return Phase(
        begin(METHODS[name], seed),
        generator_of(EVALUATION, seed).get_state(),
        torch.full((points, 2), math.nan),
        torch.zeros(2, dtype=torch.float64),
    )


def _step(name: str, config: Config) -> Callable[[Phase, int], Phase]:
    """An outer step, and a point of the learning curve wherever one is due."""
    method = METHODS[name]
    learn = outer_step(method, config.outer_iters, config.tasks)

    def point(phase: Phase, done: int) -> Phase:
        if done % config.evaluate_every:
            return phase
        generator = torch.Generator()
        generator.set_state(phase.random)
        fresh = sample_tasks(config.evaluation_tasks, generator=generator)
        found = judge(method, phase.learning.meta, fresh, generator)
        curve = phase.curve.clone()
        curve[done // config.evaluate_every] = torch.stack(
            [found.before.mean(), found.after.mean()]
        )
        return phase._replace(random=generator.get_state(), curve=curve)

    def step(phase: Phase, index: int) -> Phase:
        began = torch.tensor([time.perf_counter(), time.process_time()], dtype=torch.float64)
        phase = point(phase, 0) if index == 0 else phase
        phase = point(phase._replace(learning=learn(phase.learning, index)), index + 1)
        ended = torch.tensor([time.perf_counter(), time.process_time()], dtype=torch.float64)
        return phase._replace(seconds=phase.seconds + ended - began)

    return step


def _rows(name: str, seed: int, config: Config, curve: Tensor) -> list[dict[str, Any]]:
    steps = (point * config.evaluate_every for point in range(len(curve)))
    return [
        dict(zip(CURVES, (name, seed, done, *values)))
        for done, values in zip(steps, curve.tolist())
    ]


def _result(name: str, seed: int, test: Tasks, end: Phase) -> dict[str, float]:
    """What a method and seed are worth on the test tasks, and what they cost."""
    method = METHODS[name]

    def judged(meta: Meta) -> Judgement:
        return judge(method, meta, test, generator_of(TEST, seed + 500_000))

    found, (wall, processor) = judged(end.learning.meta), end.seconds.tolist()
    return {
        "untrained": judged(start_of(method, seed)).after.mean().item(),
        "before": found.before.mean().item(),
        "during": found.during.mean().item(),
        "after": found.after.mean().item(),
        "planner on its data": planner_return(test, found.counts).mean().item(),
        "seconds": wall,
        "cpu_seconds": processor,
    }


def _summary(method: Method, results: Sequence[dict[str, float]]) -> dict[str, Any]:
    found = {key: estimate([result[key] for result in results]) for key in results[0]}
    return {"about": method.about, **found}


def estimate(values: Sequence[float]) -> dict[str, Any]:
    """The mean of one value a seed, and half of its 95 % interval by Student's t.

    Example:
        >>> estimate([1.0, 2.0, 3.0])
        {'mean': 2.0, 'half': 2.484..., 'values': [1.0, 2.0, 3.0]}
    """
    mean = math.fsum(values) / len(values)
    return {"mean": mean, "half": half_interval(values), "values": list(values)}
