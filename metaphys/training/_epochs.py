"""What an epoch of full training is: how many steps, on which samples, looked at on which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from metaphys.data import Dataset, Split
from metaphys.training._data import looked_at
from metaphys.training._draws import generator

LEAST = 100
"""Steps of an epoch, at least: a pass over some hundred samples is over before much has changed."""


@final
@dataclass(frozen=True)
class Epochs:
    """One pass over the training samples after the other.

    An epoch is one pass, or :data:`LEAST` steps of as many passes as that takes. After each the
    accuracy is measured on all validation samples; of data that have none, on those of training.

    Attributes:
        data: the data set.
        most: samples in a step, at most.
        limit: epochs, at most.
        fixed: steps of an epoch, whatever the data; ``None`` for as above.

    Example:
        >>> from metaphys.data import digits
        >>> epochs = Epochs(digits(), most=50, limit=3)
        >>> epochs.steps, len(epochs.looked_at), epochs.measured([0.8, 0.9]), epochs.labels([0.8])
        (100, 269, 10538, 1347)
    """

    data: Dataset
    most: int
    limit: int
    fixed: int | None = None

    @property
    def batch(self) -> int:
        """Samples in a step."""
        return min(self.most, len(self.data.train))

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return max(len(self.data.train) // self.batch, LEAST) if self.fixed is None else self.fixed

    @property
    def looked_at(self) -> Split:
        """What accuracy is measured on after an epoch."""
        return looked_at(self.data)

    def samples(self, index: int, *key: object) -> tuple[Tensor, Tensor]:
        """Those of step ``index``, in another random order in every pass; ``key`` alone decides.

        What does not fill a step at the end of a pass is left out.
        """
        part, batch = self.data.train, self.batch
        number, place = divmod(index, len(part) // batch)
        order = torch.randperm(len(part), generator=generator(*key, "pass", number))
        rows = order[place * batch : (place + 1) * batch]
        return part.inputs[rows], part.targets[rows]

    def measured(self, course: Sequence[float]) -> int:
        """Samples that a unit with this course was given, those that were looked at included."""
        return len(course) * (self.steps * self.batch + len(self.looked_at))

    def labels(self, course: Sequence[float]) -> int:
        """How many different ones, at most; all of training where they are looked at as well."""
        train, validation = len(self.data.train), len(self.data.validation)
        if not validation:
            return train
        return min(len(course) * self.steps * self.batch, train) + validation
