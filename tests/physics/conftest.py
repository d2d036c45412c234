"""An array, one unit of it, and what it is driven by."""

from __future__ import annotations

import pytest
import torch

from metaphys.physics import OscillatorArray, OscillatorMismatch


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(20)


@pytest.fixture
def array() -> OscillatorArray:
    return OscillatorArray(4)


@pytest.fixture
def unit(array: OscillatorArray, generator: torch.Generator) -> OscillatorArray:
    """A unit far enough from the array that their derivatives cannot be confused."""
    offset = 0.7 * torch.randn(4, 4, generator=generator)
    return array.with_mismatch(OscillatorMismatch(coupling=offset, gain=torch.tensor([0.1])))


@pytest.fixture
def controls(array: OscillatorArray, generator: torch.Generator) -> dict[str, torch.Tensor]:
    return array.init_controls(generator=generator)


@pytest.fixture
def drive(generator: torch.Generator) -> torch.Tensor:
    return torch.randn(3, 4, generator=generator)
