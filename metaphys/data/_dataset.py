"""What every loader returns."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from metaphys._errors import check


@dataclass(frozen=True)
class Split:
    """One part of a data set.

    Attributes:
        inputs: (n, features), floating point, in [0, 1] for images.
        targets: (n,), int64, class indices.
    """

    inputs: Tensor
    targets: Tensor

    def __post_init__(self) -> None:
        check(self.inputs.ndim == 2, "inputs", expected="(n, features)", got=self.inputs.shape)
        check(
            self.targets.shape == self.inputs.shape[:1] and self.targets.dtype == torch.int64,
            "targets",
            expected=f"({self.inputs.shape[0]},) of int64",
            got=f"{tuple(self.targets.shape)} of {self.targets.dtype}",
        )

    def __len__(self) -> int:
        return int(self.inputs.shape[0])

    def to(self, *args: torch.device | torch.dtype | str) -> Split:
        """The inputs as ``Tensor.to`` makes them; the targets move along but stay int64."""
        inputs = self.inputs.to(*args)  # type: ignore[arg-type]
        return Split(inputs, self.targets.to(inputs.device))


@dataclass(frozen=True)
class Dataset:
    """A classification problem with a fixed split.

    Attributes:
        name: its name in :func:`~metaphys.data.load`.
        classes: number of classes.
        shape: shape of one sample before it was flattened, e.g. (8, 8).
        train: to fit.
        validation: to choose; always taken from the training set.
        test: to report, once.
        linear_accuracy: accuracy of a linear classifier on such data, to print beside every
            result; ``None`` where it was not measured.
        source: where the data come from.
    """

    name: str
    classes: int
    shape: tuple[int, ...]
    train: Split
    validation: Split
    test: Split
    linear_accuracy: float | None
    source: str

    @property
    def features(self) -> int:
        """Length of a flattened sample."""
        return int(self.train.inputs.shape[1])
