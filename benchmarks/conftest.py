"""Benchmarks run in float32, on the number of threads that METAPHYS_BENCH_THREADS says (1)."""

from __future__ import annotations

import os
from importlib import metadata

import pytest
import torch

THREADS = int(os.environ.get("METAPHYS_BENCH_THREADS", "1"))
# JAX makes as many threads as there are cores that the process may use.
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])


@pytest.fixture(autouse=True)
def bench_setting():
    """One setting for every peer: float32, fixed threads, fixed random numbers."""
    torch.set_default_dtype(torch.float32)
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def setting_in_the_record(request: pytest.FixtureRequest):
    """What a figure depends on, stored beside it."""
    if "benchmark" in request.fixturenames:
        benchmark = request.getfixturevalue("benchmark")
        benchmark.extra_info["threads"] = torch.get_num_threads()
        benchmark.extra_info["torch"] = torch.__version__
        for peer in ("torchopt", "jax", "optax"):
            benchmark.extra_info[peer] = _version(peer)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
