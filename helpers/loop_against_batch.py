"""The tutorial's loop beside the batch: the same learning curve, at another price.

``python -m helpers.loop_against_batch --seeds 5 --iters 12`` prints both as JSON. Both start from
the same parameters and draw their own tasks. The loop is the tutorial itself, without its
evaluation.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import json
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import torch

from metaphys.rl import (
    METHODS,
    Meta,
    draw,
    draw_rounds,
    estimate,
    from_module,
    init_meta,
    play_and_adapt,
    policy_return,
    sample_tasks,
    sampled_loss,
    textbook_loss,
)

TUTORIAL = Path(__file__).parents[1] / "tutorials" / "06_maml_tabular_mdp.py"
TASKS = 40


def tutorial() -> Any:
    """The tutorial as a module."""
    spec = importlib.util.spec_from_file_location("tutorial_06", TUTORIAL)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def loop(seed: int, iters: int) -> dict[str, list[float]]:
    """Mean returns before and after adaptation at each outer iteration of the tutorial."""
    module = tutorial()
    module.outer_iters, module.args = iters, Namespace(seed=seed)
    module.evaluate = lambda *_: ([0.0], [0.0])
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        module.main(module.args)
    words = [line.split() for line in printed.getvalue().splitlines()]
    return {
        name: [float(value) for key, value in words if key == f"train_{name}_reward"]
        for name in ("pre", "post")
    }


def batch(seed: int, iters: int) -> dict[str, list[float]]:
    """The same of the batch; what the adapted policy earns is computed, not sampled."""
    torch.manual_seed(seed)
    net = METHODS["maml"].net()
    module = tutorial().CategoricalMLPPolicy(input_size=10, output_size=5)
    start = {name: value.requires_grad_() for name, value in from_module(module).items()}
    rest = init_meta(net)
    meta = Meta(start, rest.log_rates, rest.loss, rest.rounds)
    optimizer = torch.optim.Adam(start.values(), lr=1e-3)
    curves: dict[str, list[float]] = {"pre": [], "post": []}
    for _ in range(iters):
        tasks = sample_tasks(TASKS)
        adapted = play_and_adapt(meta, net, textbook_loss, tasks, draw_rounds(TASKS, 1))
        optimizer.zero_grad()
        sampled_loss(adapted, tasks, draw(TASKS, 20, 10)).backward()
        optimizer.step()
        curves["pre"].append(adapted.seen.trajs.rewards.sum(0).mean().item())
        found = policy_return(tasks, adapted.log_probs.detach().exp(), 10)
        curves["post"].append(found.mean().item())
    return curves


def main() -> None:
    """Run both for some seeds and print means, intervals and seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="how many seeds")
    parser.add_argument("--iters", type=int, default=12, help="outer iterations of each")
    given = parser.parse_args()
    torch.set_num_threads(1)
    result: dict[str, Any] = {}
    for name, play in (("loop", loop), ("batch", batch)):
        started = time.process_time()
        curves = [play(seed, given.iters) for seed in range(1, given.seeds + 1)]
        spent = (time.process_time() - started) / (given.seeds * given.iters)
        result[name] = {"cpu_seconds_an_iteration": spent}
        for key in ("pre", "post"):
            means = [sum(curve[key]) / given.iters for curve in curves]
            result[name][key] = estimate(means)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
