"""Benchmarks run in float32, on the number of threads that METAPHYS_BENCH_THREADS says (1)."""

from __future__ import annotations

import os

import pytest
import torch


@pytest.fixture(autouse=True)
def bench_setting():
    """One setting for every peer: float32, fixed threads, fixed random numbers."""
    torch.set_default_dtype(torch.float32)
    torch.set_num_threads(int(os.environ.get("METAPHYS_BENCH_THREADS", "1")))
    torch.manual_seed(0)
