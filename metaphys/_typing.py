"""The names that metaphys gives to the kinds of argument it takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

Tensors = Sequence[torch.Tensor]
"""A flat list of tensors: what rules and kernels work on."""

Leaves = Sequence[torch.Tensor | None]
"""A flat list in which ``None`` stands for "no gradient here"."""

Tree = Any
"""Any optree tree of tensors: dicts, lists, tuples, named tuples, ``None`` leaves."""

Scalar = float | torch.Tensor
"""A number, or a 0-d tensor that may require a gradient."""

Schedule = Callable[[torch.Tensor], Scalar]
"""A hyper-parameter as a function of the number of steps taken so far (0-d float64 tensor)."""

Hyper = float | torch.Tensor | Schedule
"""A hyper-parameter: a number, a tensor that may require a gradient, or a schedule."""
