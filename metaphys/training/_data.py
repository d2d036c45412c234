"""Data sets as a physical network takes them: pooled, held, a few of the samples."""

from __future__ import annotations

import dataclasses
import functools

import torch

from metaphys._errors import check
from metaphys.data import Dataset, Split
from metaphys.training._draws import generator


def some(part: Split, count: int) -> Split:
    """At most ``count`` samples, always the same ones."""
    rows = torch.randperm(len(part), generator=generator("choosing"))[:count].sort().values
    return Split(part.inputs[rows], part.targets[rows])


def pooled(data: Dataset, pool: int) -> Dataset:
    """The data set with blocks of ``pool`` by ``pool`` pixels averaged."""
    if pool == 1:
        return data
    check(
        all(size % pool == 0 for size in data.shape),
        "pool",
        expected=f"a divisor of the image sides {data.shape}",
        got=pool,
    )
    average = functools.partial(torch.nn.functional.avg_pool2d, kernel_size=pool)

    def split(part: Split) -> Split:
        images = part.inputs.reshape(-1, 1, *data.shape)
        return Split(average(images).flatten(1), part.targets)

    shape = tuple(size // pool for size in data.shape)
    return Dataset(
        name=f"{data.name}, {shape[0]}x{shape[1]}",
        classes=data.classes,
        shape=shape,
        train=split(data.train),
        validation=split(data.validation),
        test=split(data.test),
        linear_accuracy=None,
        source=data.source,
    )


def held(data: Dataset, hold: int) -> Dataset:
    """The data set with each feature held for ``hold`` samples of a waveform."""

    def stretched(part: Split) -> Split:
        return Split(part.inputs.repeat_interleave(hold, -1), part.targets)

    parts = {name: stretched(getattr(data, name)) for name in ("train", "validation", "test")}
    return dataclasses.replace(data, **parts)


def looked_at(data: Dataset) -> Split:
    """Samples that choices are made on: of validation, or of training where there are no others."""
    return data.validation if len(data.validation) else data.train


def choosing(data: Dataset, count: int) -> Split:
    """At most ``count`` of them."""
    return some(looked_at(data), count)
