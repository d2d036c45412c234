"""Write ``docs/benchmarks.md`` from the JSON file that pytest-benchmark stores.

``make bench`` calls it. Ratios are of medians within one run: the machine may be shared, and two
runs do not compare.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

HEAD = """# Benchmarks

`make bench` times metaphys and its peers on the same work in one run, and writes this page.
Medians, interquartile ranges and least times in milliseconds; the ratio is the peer's median over
that of metaphys, so above 1 the peer is slower. `copy-floor` copies as many bytes as the update has
to move (15 words an element). Look at ratios: the machine may be shared.

`autograd-floor` is the part of the update of 200x256 that no optimizer can save: autograd handles
600 inputs and 600 outputs one by one. Where the time of the whole goes, by `perf`: torch 41 %,
the interpreter 23 % (its garbage collector 8 %), malloc 21 %, these kernels 4 %: what costs is the
number of tensors, not the arithmetic. Tried: results that share blocks (a twentieth faster; an
operator's results must not alias), one tensor cut into views (as fast as this, but views cannot be
detached in place), results past the dispatcher (kept). Next would be moments that are packed into
one tensor from step to step, which is another form of state.

Freed memory stays with the process in this run (glibc's `MALLOC_TRIM_THRESHOLD_` and
`MALLOC_MMAP_THRESHOLD_`, set by the Makefile for all peers; `make bench BENCH_ENV=` measures with
the defaults). By default glibc returns 48 MB to the system after every step of 4x1M and takes
24,000 page faults to have them back; a loop over large tensors gains by setting them, whatever
the optimizer.

"""

AIMS = {
    "Adam update with backward, 4x1M": 4.0,
    "Adam update with backward, 200x256": 8.0,
    "5 steps of MetaAdam, 0.7k parameters": 1 / 0.75,
}
"""How many times faster than TorchOpt these are meant to be; all others no slower than 0.9."""


def verdict(group: str, ratio: float) -> str:
    """Whether a group is as much faster than TorchOpt as it is meant to be."""
    aim = AIMS.get(group, 0.9)
    return f"Aim: {aim:.2f} times TorchOpt's speed. {'Reached' if ratio >= aim else 'NOT reached'}."


def table(benchmarks: list[dict[str, Any]]) -> str:
    """The rows of one group."""
    medians = {row["params"]["peer"]: row["stats"]["median"] for row in benchmarks}
    lines = ["| | median, ms | interquartile range | least | ratio |", "|---|---|---|---|---|"]
    for row in benchmarks:
        peer, stats = row["params"]["peer"], row["stats"]
        ratio = medians[peer] / medians["metaphys"]
        times = (1e3 * stats[name] for name in ("median", "iqr", "min"))
        cells = " | ".join([*(f"{each:.2f}" for each in times), f"{ratio:.2f}"])
        lines.append(f"| {peer} | {cells} |")
    return "\n".join(lines)


def _aim(name: str, benchmarks: list[dict[str, Any]]) -> str:
    medians = {row["params"]["peer"]: row["stats"]["median"] for row in benchmarks}
    if "torchopt" not in medians:
        return ""
    return f"\n{verdict(name, medians['torchopt'] / medians['metaphys'])}\n"


def page(stored: dict[str, Any]) -> str:
    """The whole page."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in stored["benchmarks"]:
        if "peer" in (row["params"] or {}):
            groups.setdefault(row["group"], []).append(row)
    machine = stored["machine_info"]
    info = stored["benchmarks"][0]["extra_info"]
    setting = (
        f"{machine['cpu'].get('brand_raw', machine['processor'])}, {info['threads']} thread(s), "
        f"torch {info['torch']}, torchopt {info['torchopt']}, jax {info['jax']}, "
        f"optax {info['optax']}, {stored['datetime'][:10]}, "
        f"revision {stored['commit_info']['id'][:7]}.\n"
    )
    parts = [f"## {name}\n\n{table(rows)}\n{_aim(name, rows)}" for name, rows in groups.items()]
    return HEAD + setting + "\n" + "\n".join(parts)


def main() -> None:
    """Read the file named by the first argument, write the one named by the second."""
    stored = json.loads(Path(sys.argv[1]).read_text())
    Path(sys.argv[2]).write_text(page(stored))


if __name__ == "__main__":
    main()
