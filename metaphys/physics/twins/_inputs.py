"""Drive and controls as one row a sample: what a network is given."""

from __future__ import annotations

import math
from typing import Any

import optree
import torch
from torch import Tensor

from metaphys.physics._ports import Ports, align


def width(ports: Ports) -> int:
    """Numbers in a row."""
    return ports.drive + sum(math.prod(shape) for shape in _shapes(ports))


def rows(ports: Ports, drive: Tensor, controls: Any) -> Tensor:
    """(*drive's leading dimensions, width): the drive, then the controls one after the other."""
    count, parts = drive.ndim - 1, [drive]
    for shape, control in zip(_shapes(ports), optree.tree_leaves(controls)):
        aligned = align(control, len(shape), count).flatten(count) if shape else None
        found = align(control, 0, count).unsqueeze(-1) if aligned is None else aligned
        parts.append(found.expand(*drive.shape[:-1], -1))
    return torch.cat(parts, -1)


def _shapes(ports: Ports) -> list[tuple[int, ...]]:
    def is_shape(node: Any) -> bool:
        return isinstance(node, tuple) and all(isinstance(size, int) for size in node)

    return [shape for shape in optree.tree_leaves(ports.controls, is_leaf=is_shape)]
