"""What is drawn: units, samples, and random numbers that depend on a key alone."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from metaphys.data import Split

Params = dict[str, Tensor]

TRAINING_UNITS, VALIDATION_UNITS, TEST_UNITS = 0, 10_000, 20_000
"""Where the seeds of each kind of unit begin."""


def seed_of(*key: object) -> int:
    """An integer seed that depends on ``key`` alone; neighbouring keys give unrelated seeds."""
    digest = hashlib.sha256(":".join(map(str, key)).encode()).digest()
    return int.from_bytes(digest[:7], "big")


def generator(*key: object) -> torch.Generator:
    """Random numbers that depend on ``key`` alone.

    Every step of a run draws from a generator of its own (its key holds the phase and the index),
    so a run that was stopped goes on with the same numbers, and nothing has to be stored.
    """
    return torch.Generator().manual_seed(seed_of(*key))


def draw_units(count: int, *key: object) -> list[int]:
    """Seeds of ``count`` units of the training population."""
    drawn = torch.randint(TRAINING_UNITS, VALIDATION_UNITS, (count,), generator=generator(*key))
    return drawn.tolist()


def draw_samples(part: Split, units: int, count: int, *key: object) -> tuple[Tensor, Tensor]:
    """``count`` different samples a unit: inputs (U, count, features), targets (U, count)."""
    source = generator(*key)
    rows = torch.stack([torch.randperm(len(part), generator=source)[:count] for _ in range(units)])
    return part.inputs[rows], part.targets[rows]
