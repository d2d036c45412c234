"""What ``compile`` of an unroll costs once, and what it saves at every call, beside the peers.

Each case runs in a process of its own with an empty cache of Inductor, and then in a second one
that finds the first one's: Adam steps on a batch of 64 and the gradient of a loss after them by
the start. Calls of all peers alternate, so that all see the same machine, on one core.

``python benchmarks/test_unroll_compile.py docs/results/compiled-unrolls`` measures all cases (half
an hour), stores them, each as soon as it is done, and writes the page of them.
"""

from __future__ import annotations

import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

NETS = {"0.7k": (10, 32, 10), "33k": (64, 128, 128, 64), "0.8M": (256, 512, 512, 512, 256)}
CASES = (
    ("0.7k", 5, "step"),
    ("0.7k", 300, "step"),
    ("33k", 5, "step"),
    ("0.8M", 5, "step"),
    ("0.7k 32 tasks", 5, "step"),
    ("33k", 300, "step"),
    ("0.7k", 5, "graph"),
)
ROUNDS = {"0.7k": 100, "33k": 30, "0.8M": 7}
Run = Callable[[], object]


class Problem:
    """A tanh MLP, and the meta-gradient of some Adam steps on it.

    Args:
        case: the net, and for mapped tasks their number.
        steps: of the inner loop.
    """

    def __init__(self, case: str, steps: int) -> None:
        import torch

        self.net, _, tasks = case.partition(" ")
        self.steps, self.tasks = steps, int(tasks.split()[0]) if tasks else 0
        self.sizes, many = NETS[self.net], (self.tasks,) if self.tasks else ()
        self.x = torch.randn(*many, 64, self.sizes[0])
        self.y = torch.randn(*many, 64, self.sizes[-1])
        self.start = [
            ((torch.randn(a, b) / a**0.5).requires_grad_(), torch.zeros(b, requires_grad=True))
            for a, b in itertools.pairwise(self.sizes)
        ]

    def ours(self, compile: Any) -> Run:
        """By ``unroll``."""
        import torch

        import metaphys

        rule, leaves = metaphys.adam(lr=1e-2), [t for pair in self.start for t in pair]

        def loss(params: Any, data: Any) -> torch.Tensor:
            out, y = data
            *hidden, (weight, bias) = params
            for w, b in hidden:
                out = torch.tanh(torch.addmm(b, out, w))
            return ((torch.addmm(bias, out, weight) - y) ** 2).mean()

        def after(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            end = metaphys.unroll(
                loss, rule, self.start, steps=self.steps, meta=(x, y), compile=compile
            )
            return loss(end.params, (x, y))

        def run() -> tuple[torch.Tensor, ...]:
            after_all = torch.vmap(after) if self.tasks else after
            return torch.autograd.grad(after_all(self.x, self.y).mean(), leaves)

        return run

    def torchopt(self) -> Run:
        """By MetaAdam of TorchOpt on a module, one task after the other."""
        import torch
        import torchopt  # pyright: ignore

        layers: list[torch.nn.Module] = []
        for inputs, outputs in itertools.pairwise(self.sizes):
            layers += [torch.nn.Linear(inputs, outputs), torch.nn.Tanh()]
        module = torch.nn.Sequential(*layers[:-1])
        inner = torchopt.MetaAdam(module, lr=1e-2)
        start, state = torchopt.extract_state_dict(module), torchopt.extract_state_dict(inner)
        params = list(module.parameters())
        tasks = list(zip(self.x, self.y)) if self.tasks else [(self.x, self.y)]

        def run() -> None:
            for x, y in tasks:
                for _ in range(self.steps):
                    inner.step(((module(x) - y) ** 2).mean())
                torch.autograd.grad(((module(x) - y) ** 2).mean(), params)
                torchopt.recover_state_dict(module, start)
                torchopt.recover_state_dict(inner, state)

        return run

    def jax(self) -> Run:
        """By optax under ``jax.jit``; long loops by ``lax.scan`` with checkpoints."""
        import jaxed

        many = self.steps > 50
        return jaxed.meta_gradient("MetaAdam", self.sizes, self.steps, many, self.tasks)


def spent() -> float:
    """Seconds of processor time of this process and of the compilers that it ran."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)


def measure(case: str, steps: int, mode: str, peers: bool = True) -> dict[str, Any]:
    """Seconds of the first compiled call; milliseconds of later ones and of the peers'."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    problem = Problem(case, steps)
    runs: dict[str, Run] = {"eager": problem.ours(False), "compiled": problem.ours(mode)}
    expected: Any = runs["eager"]()
    begin, before = time.perf_counter(), spent()
    found: Any = runs["compiled"]()
    first, processor = time.perf_counter() - begin, spent() - before
    error = max(float((a - b).norm() / b.norm()) for a, b in zip(found, expected))
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])  # JAX takes all that it may use
    if peers:
        runs |= {"jax": problem.jax(), "torchopt": problem.torchopt()}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range((ROUNDS[problem.net] if steps < 50 else 7) if peers else 1):
        for name, run in runs.items():
            # Time of the processor: the machine is shared, and none of the peers waits.
            begin = time.process_time()
            run()
            times[name].append(time.process_time() - begin)
    medians = {f"{name}_ms": 1e3 * statistics.median(values) for name, values in times.items()}
    return {
        "first_s": first,
        "first_cpu_s": processor,
        **medians,
        "relative_error": error,
        "torch": torch.__version__,
        "load": os.getloadavg()[0],
    }


def on_threads(case: str, threads: int) -> dict[str, Any]:
    """Least milliseconds of the clock of 5 steps, eager and compiled, on some threads."""
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    problem = Problem(case, 5)
    runs = {"eager": problem.ours(False), "compiled": problem.ours(True)}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS[problem.net]):
        for name, run in runs.items():
            begin = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - begin)
    return {name: float(f"{1e3 * min(values):.4g}") for name, values in times.items()}


def by_threads() -> dict[str, Any]:
    """:func:`on_threads` for each net, on one thread and on two."""
    return {
        f"{net} {threads}": run_apart(net, "threads", str(threads), environment=dict(os.environ))
        for net in NETS
        for threads in (1, 2)
    }


def run_apart(*arguments: str, environment: dict[str, str]) -> dict[str, Any]:
    """What this script prints in a process of its own."""
    script = Path(__file__).resolve()
    out = subprocess.run(
        [sys.executable, str(script), *arguments],
        check=True,
        capture_output=True,
        text=True,
        cwd=script.parents[1],
        env=environment,
    )
    return json.loads(out.stdout.splitlines()[-1])


def twice(case: str, steps: int, mode: str) -> dict[str, Any]:
    """:func:`measure` in a process of its own, and the first call of a second one."""
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": cache}
        results = [
            run_apart(case, str(steps), mode, again, environment=environment)
            for again in ("", "again")
        ]
    second = {f"second_process_{key[6:]}": results[1][key] for key in ("first_s", "first_cpu_s")}
    return {"case": case, "steps": steps, "mode": mode, **results[0], **second}


@pytest.mark.parametrize(("case", "steps", "mode"), CASES)
def test_unroll_compile(benchmark, case: str, steps: int, mode: str) -> None:
    benchmark.group = f"compiled unroll of {steps} steps, {case} parameters"
    benchmark.extra_info.update(benchmark.pedantic(lambda: twice(case, steps, mode), rounds=1))


COLUMNS = (
    "first_s", "first_cpu_s", "second_process_s", "second_process_cpu_s",
    "eager_ms", "compiled_ms", "jax_ms", "torchopt_ms", "relative_error", "load",
)  # fmt: skip


def page(found: dict[str, Any]) -> str:
    """The results as Markdown."""
    rows = []
    for name, values in found.items():
        if name in ("command", "torch", "columns", "threads"):
            continue
        case = dict(zip(COLUMNS, values))
        *net, steps, mode = name.split()
        ours = case["compiled_ms"]
        cells = [" ".join(net), steps, mode]
        cells += [f"{case[c]:.0f}" for c in COLUMNS[:4]]
        cells += [f"{case[c]:.3g}" for c in COLUMNS[4:8]]
        cells += [f"{case[c] / ours:.2g}" for c in ("eager_ms", "jax_ms", "torchopt_ms")]
        rows.append(f"| {' | '.join([*cells, format(case['load'], '.1f')])} |")
    end = f"\n`{found['command']}`, torch {found['torch']}.\n"
    words = Path(__file__).with_name("compiled_unrolls.md").read_text(encoding="utf-8")
    return words.replace("ROWS", "\n".join(rows)).replace("THREADS", _threads(found)) + end


def _threads(found: dict[str, Any]) -> str:
    times = found.get("threads", {})
    rows = []
    for net in NETS if times else ():
        one, two = times[f"{net} 1"], times[f"{net} 2"]
        cells = [net, *(f"{each[mode]:.3g}" for mode in one for each in (one, two))]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def store(done: list[dict[str, Any]], path: str, threads: dict[str, Any] | None = None) -> None:
    """Write ``path.json`` and ``path.md``."""
    cases = {
        f"{each['case']} {each['steps']} {each['mode']}": [float(f"{each[c]:.4g}") for c in COLUMNS]
        for each in done
    }
    found = {
        "command": "python benchmarks/test_unroll_compile.py docs/results/compiled-unrolls",
        "torch": done[0]["torch"],
        "columns": ", ".join(COLUMNS),
        **cases,
        **({"threads": threads} if threads else {}),
    }
    Path(f"{path}.json").write_text(json.dumps(found, indent=2) + "\n")
    Path(f"{path}.md").write_text(page(found))


def main() -> None:
    """One case, or all of them into files."""
    if sys.argv[2:3] == ["threads"]:
        print(json.dumps(on_threads(sys.argv[1], int(sys.argv[3]))))
        return
    if len(sys.argv) == 5:
        case, steps, mode, again = sys.argv[1:]
        print(json.dumps(measure(case, int(steps), mode, peers=not again)))
        return
    done = []
    for each in CASES:
        done.append(twice(*each))
        store(done, sys.argv[1])
    store(done, sys.argv[1], by_threads())


if __name__ == "__main__":
    main()
