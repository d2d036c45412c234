"""Memory and time of a long unroll under each adjoint: Adam on an MLP of 0.8M parameters.

Each case runs in a process of its own, because the peak of a process never falls: METAPHYS_STEPS
(300) Adam steps on a batch of 64 and the gradient of a loss after them by the start. Reported as
extra information of the benchmark are the whole process's peak and the part above the import.

One case by hand: ``python benchmarks/test_unroll_memory.py Checkpoint 300``.
"""

from __future__ import annotations

import itertools
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

STEPS = int(os.environ.get("METAPHYS_STEPS", "300"))
SIZES = (256, 512, 512, 512, 256)
CASES = ("Full", "Checkpoint", "Mixed")


def measure(adjoint: str, steps: int, warm: bool = True) -> dict[str, float]:
    """Peak of this process in MiB, and seconds of one unroll with its gradient."""
    import torch

    import metaphys

    torch.set_num_threads(int(os.environ.get("METAPHYS_BENCH_THREADS", "1")))
    torch.manual_seed(0)
    imported = _peak()

    def forward(params, x):
        *hidden, (weight, bias) = params
        for w, b in hidden:
            x = torch.tanh(torch.addmm(b, x, w))
        return torch.addmm(bias, x, weight)

    x, y = torch.randn(64, SIZES[0]), torch.randn(64, SIZES[-1])
    start = [
        ((torch.randn(a, b) / a**0.5).requires_grad_(), torch.zeros(b, requires_grad=True))
        for a, b in itertools.pairwise(SIZES)
    ]

    def loss(params, meta):
        return ((forward(params, x) - y) ** 2).mean()

    def run(steps: int) -> None:
        chosen = getattr(metaphys.adjoint, adjoint)()
        end = metaphys.unroll(loss, metaphys.adam(lr=1e-3), start, steps=steps, adjoint=chosen)
        outer = loss(end.params, None)
        grads = torch.autograd.grad(outer, [t for pair in start for t in pair])
        assert all(bool(grad.isfinite().all()) for grad in grads)

    if warm:
        run(2)  # the first use of torch.func imports much
    begin = time.perf_counter()
    run(steps)
    seconds = time.perf_counter() - begin
    return {"seconds": seconds, "peak_MiB": _peak(), "above_import_MiB": _peak() - imported}


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@pytest.mark.parametrize("adjoint", CASES)
def test_unroll_memory(benchmark, adjoint: str) -> None:
    benchmark.group = f"{STEPS} Adam steps, 0.8M parameters"
    script = Path(__file__).resolve()

    def run() -> dict[str, float]:
        command = [sys.executable, str(script), adjoint, str(STEPS)]
        out = subprocess.run(
            command, check=True, capture_output=True, text=True, cwd=script.parents[1]
        )
        return json.loads(out.stdout)

    benchmark.extra_info.update(benchmark.pedantic(run, rounds=1))


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]))))
