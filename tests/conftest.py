"""A strict laboratory: float64, seeded, one thread, warnings are errors (see pyproject.toml)."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def laboratory():
    """Float64 by default and the same random numbers in every test."""
    before, threads = torch.get_default_dtype(), torch.get_num_threads()
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(20240601)
    torch.set_num_threads(1)
    yield
    torch.set_default_dtype(before)
    torch.set_num_threads(threads)


@pytest.fixture
def generator() -> torch.Generator:
    """Random numbers of a test's own."""
    return torch.Generator().manual_seed(8)
