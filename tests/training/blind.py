"""For tests that what is learned and tuned keeps away from what judges it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest

from metaphys.data import Dataset, Split
from metaphys.physics import Population


def blind(data: Dataset) -> Dataset:
    """The same with test samples that no network takes: what looks at them ends in an error."""
    test = Split(data.test.inputs[:, :0], data.test.targets)
    return dataclasses.replace(data, test=test)


def units_asked_for(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The seeds of all units that are made of populations from now on."""
    found, own = set[int](), Population._own

    def kept(self: Population, seeds: Sequence[int]) -> list[int]:
        found.update(seeds)
        return own(self, seeds)

    monkeypatch.setattr(Population, "_own", kept)
    return found
