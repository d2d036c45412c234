"""The experiment: methods and seeds, judged beside their rivals on tasks never seen in training."""

from __future__ import annotations

import csv
import io
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch

from metaphys.rl._config import Config
from metaphys.rl._mdp import sample_tasks
from metaphys.rl._meta import Meta
from metaphys.rl._methods import METHODS, Method
from metaphys.rl._rivals import planner_return, rival_returns
from metaphys.rl._train import EVALUATION, TEST, generator_of, judge, start_of, train

COLUMNS = ("method", "seed", "iteration", "before", "after")
"""The columns of ``metrics.csv``: a learning curve on fresh tasks."""


class Progress(Protocol):
    """Listens to the phases of a run; that of :mod:`metaphys.training` fits."""

    def phase(self, name: str, steps: int) -> AbstractContextManager[Callable[[int], None]]:
        """Enter a phase of so many steps; what is yielded is called with the number done."""
        ...


class Silent:
    """Progress that nobody sees."""

    @contextmanager
    def phase(self, name: str, steps: int) -> Iterator[Callable[[int], None]]:
        """As :meth:`Progress.phase`."""
        yield lambda done: None


def run(config: Config, path: str | Path, progress: Progress | None = None) -> dict[str, Any]:
    """Train and judge every method with every seed, and write what came out.

    Test tasks are the same for all methods of a seed; every method plays its own 20 trajectories
    on them.

    Args:
        config: what to do.
        path: a directory, made if it is not there. It gets ``metrics.csv`` (learning curves),
            ``summary.json`` (returns on test tasks, with the rivals') and ``pictures/``.
        progress: who listens.

    Returns:
        What ``summary.json`` holds.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     summary = run(Config(methods=("maml",)).quick(), folder)
        >>> list(summary["methods"])
        ['maml']
    """
    from metaphys.rl._pictures import draw_pictures  # matplotlib, only when it is wanted

    directory = Path(path)
    directory.mkdir(parents=True, exist_ok=True)
    threads = torch.get_num_threads()
    torch.set_num_threads(config.threads)
    try:
        rows, results, rivals = _all(config, progress or Silent())
    finally:
        torch.set_num_threads(threads)
    summary = {
        "config": config.to_json(),
        "lines": {name: estimate(values) for name, values in rivals.items()},
        "methods": {name: _summary(METHODS[name], found) for name, found in results.items()},
    }
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    (directory / "metrics.csv").write_text(text.getvalue())
    (directory / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    draw_pictures(rows, summary, directory / "pictures")
    return summary


def _all(config: Config, progress: Progress) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
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
                curve, result = _one(name, seed, config, test, advance)
            rows += curve
            results[name].append(result)
    return rows, results, rivals


def _one(
    name: str, seed: int, config: Config, test: Any, advance: Callable[[int], None]
) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """The learning curve of one method and seed, and what it is worth on the test tasks."""
    method = METHODS[name]
    generator = generator_of(EVALUATION, seed)
    curve: list[dict[str, Any]] = []

    def after_step(done: int, meta: Meta) -> None:
        if done % config.evaluate_every == 0:
            fresh = sample_tasks(config.evaluation_tasks, generator=generator)
            found = judge(method, meta, fresh, generator)
            values = (found.before.mean().item(), found.after.mean().item())
            curve.append(dict(zip(COLUMNS, (name, seed, done, *values))))
        advance(done)

    started, cpu = time.perf_counter(), time.process_time()
    sizes = {"iters": config.outer_iters, "tasks": config.tasks}
    meta = train(method, seed, **sizes, after_step=after_step)
    took = {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - cpu}
    untrained = judge(method, start_of(method, seed), test, generator_of(TEST, seed + 500_000))
    found = judge(method, meta, test, generator_of(TEST, seed + 500_000))
    return curve, {
        "untrained": untrained.after.mean().item(),
        "before": found.before.mean().item(),
        "during": found.during.mean().item(),
        "after": found.after.mean().item(),
        "planner on its data": planner_return(test, found.counts).mean().item(),
        **took,
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
    from scipy.stats import t  # slow to import, so only when figures are wanted

    n = len(values)
    mean = math.fsum(values) / n
    half = None
    if n > 1:
        variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1)
        half = float(t.ppf(0.975, n - 1)) * math.sqrt(variance / n)
    return {"mean": mean, "half": half, "values": list(values)}
