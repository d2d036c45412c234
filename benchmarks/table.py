"""Write ``docs/benchmarks.md`` from the JSON files that pytest-benchmark stores.

``make bench`` calls it, with a file for each number of threads. Ratios are of medians within one
run: the machine may be shared, and two runs do not compare.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

HEAD = """# Benchmarks

`make bench` times metaphys and its peers on the same work in one run for each number of threads
(`BENCH_THREADS="1 2"`), and writes this page. Medians, interquartile ranges and least times in
milliseconds; the ratio is the peer's median over that of metaphys, so above 1 the peer is slower.
`copy-floor` copies as many bytes as the work has to move: for an update with its backward of a
rule with K moments 5 (1 + K) words an element, so 15 for Adam. Look at ratios: the machine may be
shared.

`metaphys-flatten` is the rule inside `metaphys.transform.flatten`, `optax-flatten-jit` inside
`optax.flatten`: its moments are one vector from step to step. With 200 parameters of 256 entries
what costs is the number of tensors, not the arithmetic. `autograd-floor` hands 600 inputs through
to 600 outputs, which no optimizer that keeps its moments by parameter can save; in the rest torch
takes 41 %, the interpreter 23 % (its garbage collector 8 %), malloc 21 %, these kernels 4 %
(`perf`). Results that share blocks were a twentieth faster, and an operator's must not alias;
moments that are views cannot be detached in place. A rule on one vector has neither problem: 200
gradients and two moments come in. Its matrices are reshaped on the way, which costs autograd 10 µs
each; vectors are not.

Freed memory stays with the process in this run (glibc's `MALLOC_TRIM_THRESHOLD_` and
`MALLOC_MMAP_THRESHOLD_`, set by the Makefile for all peers; `make bench BENCH_ENV=` measures with
the defaults). By default glibc returns 48 MB to the system after every step of 4x1M and takes
24,000 page faults to have them back; a loop over large tensors gains by setting them, whatever
the optimizer.

The stored page: with one thread while one other process ran on the other core (the unrolls again
after the others, since that process began in the middle of them); with two threads idle.

"""

AIMS = {
    "Adam update with backward, 4x1M": {"copy-floor": 1 / 1.5},
    "Adam update with backward, 200x256": {"torchopt": 12.0, "optax-jit": 1.0},
    "5 steps of MetaAdam, 0.7k parameters": {"torchopt": 1 / 0.65},
    **{
        f"{system}, batch 64, forward and backward": aims
        for system, aims in {
            "linear plate, 196 samples": {"torchdiffeq": 20.0},
            "100 oscillators, 100 steps": {"torchdiffeq": 1.5, "diffrax": 1.0, "JAX": 1.0},
            "circuit, 196 samples": {"torchdiffeq": 2.0},
            "SHG, split step": {"torchdiffeq": 2.0},
        }.items()
    },
}
"""How many times as fast as a peer these are meant to be; others 0.9 times TorchOpt at least."""

JUDGED = {"Adam update with backward, 200x256": "metaphys-flatten"}
"""The row that these are judged by, where it is not the first."""


def verdict(group: str, medians: dict[str, float]) -> list[str]:
    """Whether a group is as fast as it is meant to be, beside each peer that it is measured by."""
    aims, row = AIMS.get(group, {"torchopt": 0.9}), JUDGED.get(group, "metaphys")
    found = {peer: medians[peer] / medians[row] for peer in aims if peer in medians}
    return [
        f"Aim of {row}: {aims[peer]:.2f} times the speed of {peer}; {ratio:.2f} times."
        f" {'Reached' if ratio >= aims[peer] else 'NOT reached'}."
        for peer, ratio in found.items()
    ]


def table(name: str, benchmarks: list[dict[str, Any]]) -> str:
    """One group: its rows, and whether its aims are reached."""
    medians = {row["params"]["peer"]: row["stats"]["median"] for row in benchmarks}
    floor = medians.get("copy-floor")
    heads = ["", "median, ms", "interquartile range", "least", "ratio"]
    heads += ["times the floor"] if floor else []
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in benchmarks:
        peer, stats = row["params"]["peer"], row["stats"]
        cells = [1e3 * stats[each] for each in ("median", "iqr", "min")]
        cells.append(medians[peer] / medians["metaphys"])
        cells += [medians[peer] / floor] if floor else []
        lines.append(f"| {' | '.join([peer, *(f'{cell:.2f}' for cell in cells)])} |")
    return "\n".join([*lines, *(f"\n{line}" for line in verdict(name, medians)), ""])


def page(runs: list[dict[str, Any]]) -> str:
    """The whole page, of one run for each number of threads."""
    groups: dict[str, list[str]] = {}
    for stored in runs:
        threads = stored["benchmarks"][0]["extra_info"]["threads"]
        found: dict[str, list[dict[str, Any]]] = {}
        for row in stored["benchmarks"]:
            # Memory and compilation have pages of their own.
            if "peer" in (row["params"] or {}) and "unroll" not in row["name"]:
                found.setdefault(row["group"], []).append(row)
        for name, rows in found.items():
            title = f"### {threads} thread{'s' * (threads > 1)}"
            groups.setdefault(name, []).append(f"{title}\n\n{table(name, rows)}")
    parts = [f"## {name}\n\n" + "\n".join(tables) for name, tables in groups.items()]
    return HEAD + _setting(runs) + "\n" + "\n".join(parts)


def _setting(runs: list[dict[str, Any]]) -> str:
    """Where and with what the figures were measured."""
    machine, info = runs[0]["machine_info"], runs[0]["benchmarks"][0]["extra_info"]
    threads = " and ".join(str(run["benchmarks"][0]["extra_info"]["threads"]) for run in runs)
    return (
        f"{machine['cpu'].get('brand_raw', machine['processor'])}, {threads} thread(s), "
        f"torch {info['torch']}, torchopt {info['torchopt']}, jax {info['jax']}, "
        f"optax {info['optax']}, {runs[0]['datetime'][:10]}, "
        f"revision {runs[0]['commit_info']['id'][:7]}.\n"
    )


def main() -> None:
    """Write the page named by the first argument from the files named by the others."""
    target, *sources = map(Path, sys.argv[1:])
    target.write_text(page([json.loads(source.read_text()) for source in sources]))


if __name__ == "__main__":
    main()
