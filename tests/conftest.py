"""A strict laboratory: float64, seeded, one thread, warnings are errors (see pyproject.toml)."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def laboratory():
    """Float64 by default and the same random numbers in every test."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(20240601)
    torch.set_num_threads(1)
    yield
    torch.set_default_dtype(before)
