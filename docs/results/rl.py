"""Store the results of a finished run of ``metaphys rl``: two JSON files and their pictures.

Run as ``python docs/results/rl.py RUN_DIR``, with a run of the methods of ``rl-adapted.json``.
``rl-seed-setting.json`` is the method ``maml`` of the same run; what it holds of the loop beside
the batch (``python -m helpers.loop_against_batch``) is kept.
"""

from __future__ import annotations

import csv
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from metaphys.rl import estimate
from metaphys.training import read_config

HERE = Path(__file__).parent
PUBLISHED = {
    "TorchOpt's example, adapted": 10.2,
    "TorchRL's version, adapted, test tasks": 10.35,
}
BEST, LARGE_STEP = "tabular", "one large step, tuned"
METRIC = (
    "exact expected return over 10 steps of the policy adapted to each of {tasks} test tasks a "
    "seed, none of them seen in training; interval: 95 %, Student's t over seeds"
)
SEED_SETTING = (
    "MAML on random tabular MDPs (10 states, 5 actions), the TorchOpt example's setting, all tasks "
    "in one batch: 500 outer iterations of 40 tasks, 20 trajectories x 10 steps, gamma 0.99, "
    "lambda 0.95, one inner MetaSGD step with lr 0.1, outer Adam 1e-3; evaluated every 10 "
    "iterations on 100 fresh tasks"
)
ADAPTED = (
    "What adaptation to a random tabular MDP can earn after 20 trajectories of 10 steps. Every "
    "method is meta-trained with 500 outer iterations of 40 tasks and judged on the same test "
    "tasks of a seed."
)
NOTES = (
    "one large step, tuned: one policy-gradient step of a linear softmax policy on 20 uniform "
    "trajectories; its step size and discount are chosen on 500 other tasks, nothing else is "
    "learned",
    "planner: optimal plan for the posterior mean of transitions and rewards after 20 trajectories "
    "of the uniform policy; it knows the prior. planner without prior: for the plain frequencies",
    "tabular plays its 20 trajectories in 4 rounds of 5 and adapts in between, so that its data "
    "are better than the uniform policy's; tabular-one-round plays all with the start policy",
    "no method plans: none estimates transitions. The outer loss of all but maml and maml-rates is "
    "the exact return on training tasks, whose process the simulator knows",
    "the score-function term (DiCE) is used for the rounds' sharpness and optimism alone",
)
TIMES = (
    "meta-training of one seed with its evaluations, one thread, on a machine shared with others"
)


def rounded(value: Any) -> Any:
    """All numbers with three decimals, as far as returns of so many tasks mean anything."""
    if isinstance(value, dict):
        return {name: rounded(part) for name, part in value.items()}
    if isinstance(value, list):
        return [rounded(part) for part in value]
    return round(value, 3) if isinstance(value, float) else value


def minus(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """The difference of two estimates, paired by seed."""
    return estimate([a - b for a, b in zip(one["values"], other["values"])])


def collect(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is stored of a run: learned adaptation, and the textbook's setting.

    Raises:
        ValueError: it is no run of metaphys rl, or lacks a method that is compared.
    """
    stored = read_config(path)
    summary = json.loads((path / "summary.json").read_text())
    config, lines, methods = summary["config"], summary["lines"], summary["methods"]
    after = {name: found["after"] for name, found in methods.items()}
    common = {
        "command": stored["environment"]["command"],
        "commit": stored["environment"]["revision"],
        "torch": stored["environment"]["torch"],
        "seeds": list(range(config["seed"], config["seed"] + config["seeds"])),
        "metric": METRIC.format(tasks=config["test_tasks"]),
        "published": PUBLISHED,
        "baselines": lines,
    }
    best = methods[BEST]
    adapted = {
        "experiment": ADAPTED,
        **common,
        "winner": BEST,
        **after[BEST],
        "differences": {
            f"{BEST} minus {LARGE_STEP}": minus(after[BEST], lines[LARGE_STEP]),
            f"{BEST} minus planner on uniform trajectories": minus(after[BEST], lines["planner"]),
            f"{BEST} minus planner on its own data": minus(
                after[BEST], best["planner on its data"]
            ),
            f"{BEST} minus itself untrained": minus(after[BEST], best["untrained"]),
            f"{BEST} minus tabular-no-dice": minus(after[BEST], after["tabular-no-dice"]),
            "tabular-one-round minus planner": minus(after["tabular-one-round"], lines["planner"]),
            "mlp minus maml": minus(after["mlp"], after["maml"]),
            "mlp minus itself untrained": minus(after["mlp"], methods["mlp"]["untrained"]),
            "maml-steps minus maml-unweighted": minus(
                after["maml-steps"], after["maml-unweighted"]
            ),
        },
        "methods": methods,
        "notes": [*NOTES, f"seconds: {TIMES}"],
        "seconds": {name: found["seconds"] for name, found in methods.items()},
    }
    maml = methods["maml"]
    setting = {
        "experiment": SEED_SETTING,
        **common,
        **after["maml"],
        "differences": {"this experiment minus random": minus(after["maml"], lines["random"])},
        "before": maml["before"],
        "curve": curve(path / "metrics.csv", "maml"),
        "seconds": {"wall": maml["seconds"], "processor": maml["cpu_seconds"], "of": TIMES},
    }
    return rounded(adapted), rounded(setting)


def curve(path: Path, method: str) -> dict[str, Any]:
    """The learning curve of a method: the mean over seeds at each point."""
    points: dict[int, list[float]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["method"] == method:
                points.setdefault(int(row["iteration"]), []).append(float(row["after"]))
    rows = [[step, sum(values) / len(values)] for step, values in points.items()]
    return {"columns": ["outer iteration", "adapted return, mean of seeds"], "rows": rows}


def main() -> None:
    """Read, store, print."""
    if len(sys.argv) != 2:
        sys.exit("usage: python docs/results/rl.py RUN_DIR")
    path = Path(sys.argv[1])
    adapted, setting = collect(path)
    kept = HERE / "rl-seed-setting.json"
    if kept.exists():
        setting["loop"] = json.loads(kept.read_text())["loop"]
    for name, result in (("rl-adapted", adapted), ("rl-seed-setting", setting)):
        (HERE / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n")
        print(f"{name}: {result['mean']} ± {result['half']}")
    for name, stem in (("learning", "rl-adapted"), ("comparison", "rl-adapted-comparison")):
        shutil.copy(path / "pictures" / f"{name}.svg", HERE / f"{stem}.svg")


if __name__ == "__main__":
    main()
