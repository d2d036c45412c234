"""Memory and time of long unrolls under each adjoint, and of the peers: Adam on two tanh MLPs.

``wide`` has 0.8M parameters and a batch of 64: parameters and moments dominate. ``deep`` has 16
layers of 64 and a batch of 16384: activations dominate. Each case runs in a process of its own,
because the peak of a process never falls: Adam steps and the gradient of a loss after them by the
start. Reported is the whole process's peak above the import and a first small unroll.

glibc keeps blocks under 32 MiB that were freed; that many free blocks lie between those in use
decides about half of the peak of ``deep``. With MALLOC_MMAP_THRESHOLD_ set it returns each: the
column ``returned``.

One case by hand: ``python benchmarks/test_unroll_memory.py wide Checkpoint 300``. All of them into
files, with the picture (20 minutes): ``python benchmarks/test_unroll_memory.py
docs/results/unroll-memory``.
"""

from __future__ import annotations

import itertools
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

NETS = {"wide": (256, 512, 512, 512, 256), "deep": (64,) * 17}
BATCH = {"wide": 64, "deep": 16384}
CASES = (
    *(("wide", peer, k) for k in (10, 30, 100) for peer in ("Full", "torchopt", "higher")),
    *(
        ("wide", peer, k)
        for k in (10, 30, 100, 300)
        for peer in ("Checkpoint", "Mixed", "compiled", "jax")
    ),
    *(("deep", peer, 16) for peer in ("Checkpoint", "Mixed")),
    *(("wide", peer, 1200) for peer in ("Checkpoint", "Mixed", "compiled")),
)
RETURNED = {"MALLOC_MMAP_THRESHOLD_": "65536"}


def _ours(net: str, adjoint: str, compile: bool = False) -> Callable[[int], object]:
    import torch

    import metaphys

    sizes, batch = NETS[net], BATCH[net]
    x, y = torch.randn(batch, sizes[0]), torch.randn(batch, sizes[-1])
    start = [
        ((torch.randn(a, b) / a**0.5).requires_grad_(), torch.zeros(b, requires_grad=True))
        for a, b in itertools.pairwise(sizes)
    ]

    def loss(params: Any, data: Any) -> torch.Tensor:
        out, y = data
        *hidden, (weight, bias) = params
        for w, b in hidden:
            out = torch.tanh(torch.addmm(b, out, w))
        return ((torch.addmm(bias, out, weight) - y) ** 2).mean()

    def run(steps: int) -> None:
        data = (x, y) if steps > 2 or compile else (x[:8], y[:8])
        chosen = getattr(metaphys.adjoint, adjoint)()
        rule = metaphys.adam(lr=1e-3)
        end = metaphys.unroll(
            loss, rule, start, steps=steps, meta=data, adjoint=chosen, compile=compile
        )
        grads = torch.autograd.grad(loss(end.params, data), [t for pair in start for t in pair])
        assert all(bool(grad.isfinite().all()) for grad in grads)

    return run


def _torchopt(net: str, _: str) -> Callable[[int], object]:
    from test_unroll_compile import Problem

    def run(steps: int) -> None:
        Problem("0.8M", steps).torchopt()()

    return run


def _compiled(net: str, _: str) -> Callable[[int], object]:
    return _ours(net, "Checkpoint", compile=True)


def _higher(net: str, _: str) -> Callable[[int], object]:
    import higher  # pyright: ignore
    import torch

    layers: list[torch.nn.Module] = []
    for inputs, outputs in itertools.pairwise(NETS[net]):
        layers += [torch.nn.Linear(inputs, outputs), torch.nn.Tanh()]
    module = torch.nn.Sequential(*layers[:-1])
    x, y = torch.randn(BATCH[net], NETS[net][0]), torch.randn(BATCH[net], NETS[net][-1])

    def run(steps: int) -> None:
        inner = torch.optim.Adam(module.parameters(), lr=1e-2)
        with higher.innerloop_ctx(module, inner, copy_initial_weights=False) as (model, optimizer):
            for _ in range(steps):
                optimizer.step(((model(x) - y) ** 2).mean())
            torch.autograd.grad(((model(x) - y) ** 2).mean(), list(module.parameters()))

    return run


def _jax(net: str, _: str) -> Callable[[int], object]:
    import jaxed

    def run(steps: int) -> None:
        jaxed.meta_gradient("MetaAdam", NETS[net], steps, scanned=True)  # compiles, and runs once

    return run


def measure(net: str, peer: str, steps: int) -> dict[str, float]:
    """Peak of this process in MiB, and processor seconds of one unroll with its gradient."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    peers = {"torchopt": _torchopt, "higher": _higher, "compiled": _compiled, "jax": _jax}
    run = peers.get(peer, _ours)(net, peer)
    run(2)  # the first use of torch.func imports much
    warm = _peak()
    begin = time.process_time()
    run(steps)
    return {"cpu_s": time.process_time() - begin, "peak_MiB": _peak(), "above_MiB": _peak() - warm}


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def apart(net: str, peer: str, steps: int, **environment: str) -> dict[str, float]:
    """:func:`measure` in a process of its own."""
    script = Path(__file__).resolve()
    out = subprocess.run(
        [sys.executable, str(script), net, peer, str(steps)],
        check=True,
        capture_output=True,
        text=True,
        cwd=script.parents[1],
        env={**os.environ, **environment},
    )
    return json.loads(out.stdout.splitlines()[-1])


@pytest.mark.parametrize(("net", "peer", "steps"), CASES)
def test_unroll_memory(benchmark, net: str, peer: str, steps: int) -> None:
    benchmark.group = f"{steps} Adam steps, {net}"
    benchmark.extra_info.update(
        benchmark.pedantic(lambda: apart(net, peer, steps, **RETURNED), rounds=1)
    )


def store(done: dict[str, list[float]], path: str) -> None:
    """Write ``path.json`` and ``path.md``."""
    found = {
        "command": "python benchmarks/test_unroll_memory.py docs/results/unroll-memory",
        "columns": "processor seconds, MiB above the import; deep: the same with memory returned",
        **done,
    }
    Path(f"{path}.json").write_text(json.dumps(found, indent=2) + "\n")
    rows = "\n".join(
        f"| {' | '.join([*name.split(), f'{values[0]:.3g}', *(f'{v:.0f}' for v in values[1:])])} |"
        + " |" * (len(values) < 3)
        for name, values in done.items()
    )
    words = Path(__file__).with_name("unroll_memory.md").read_text(encoding="utf-8")
    Path(f"{path}.md").write_text(f"{words.replace('ROWS', rows)}\n`{found['command']}`.\n")


def draw(done: dict[str, list[float]], path: str) -> None:
    """Memory and time against steps, for each adjoint and peer."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 3.8), layout="constrained")
    peers = dict.fromkeys(name.split()[1] for name in done if name.startswith("wide"))
    for peer in peers:
        cases = sorted(
            (int(name.split()[2]), values)
            for name, values in done.items()
            if name.startswith(f"wide {peer} ")
        )
        steps = [k for k, _ in cases]
        style, label = ("--", peer) if peer.islower() else ("-", f"{peer}()")
        if peer == "compiled":
            style, label = ":", "Checkpoint(), compiled"
        (line,) = left.plot(steps, [v[1] for _, v in cases], f"o{style}", label=label)
        if peer != "jax":  # whose time here is mostly that of its compiler
            times = [1e3 * v[0] / k for k, v in cases]
            right.plot(steps, times, f"o{style}", color=line.get_color())
    left.set(xscale="log", yscale="log", xlabel="inner steps", ylabel="peak memory (MiB)")
    right.set(
        xscale="log", ylim=(0, None), xlabel="inner steps", ylabel="processor time a step (ms)"
    )
    figure.legend(loc="outside right center")
    figure.savefig(f"{path}.png", dpi=120)


def main() -> None:
    """One case, or all of them into files."""
    if len(sys.argv) == 4:
        print(json.dumps(measure(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
        return
    done = {}
    for case in CASES:
        found = [apart(*case)]
        if case[0] == "deep":
            found.append(apart(*case, **RETURNED))
        values = [found[0]["cpu_s"], *(each["above_MiB"] for each in found)]
        done[" ".join(map(str, case))] = [float(f"{value:.4g}") for value in values]
        store(done, sys.argv[1])
        draw(done, sys.argv[1])


if __name__ == "__main__":
    main()
