"""Names of kinds of argument, for annotations in code that was written for TorchOpt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from optree import PyTree, PyTreeTypeVar
from torch import Tensor
from torch.distributions import Distribution
from torch.futures import Future

from metaphys._typing import Hyper, Leaves, Scalar, Schedule, Tensors, Tree
from metaphys.meta import ModuleState
from metaphys.optim import (
    ChainedGradientTransformation,
    EmptyState,
    GradientTransformation,
    Rule,
    UninitializedState,
)

Numeric: TypeAlias = Tensor | Scalar
"""A number, or a tensor of any shape."""

ScalarOrSchedule: TypeAlias = Scalar | Schedule
"""A learning rate."""

Device: TypeAlias = torch.device | str | int
Size = torch.Size

OptionalTensor = Tensor | None
ListOfTensors = list[Tensor]
TupleOfTensors = tuple[Tensor, ...]
SequenceOfTensors = Sequence[Tensor]
TensorOrTensors = Tensor | SequenceOfTensors
TensorTree: TypeAlias = PyTreeTypeVar("TensorTree", Tensor)  # type: ignore[valid-type]

ListOfOptionalTensors = list[OptionalTensor]
TupleOfOptionalTensors = tuple[OptionalTensor, ...]
SequenceOfOptionalTensors = Sequence[OptionalTensor]
OptionalTensorOrOptionalTensors = OptionalTensor | SequenceOfOptionalTensors
OptionalTensorTree: TypeAlias = PyTreeTypeVar(  # type: ignore[valid-type]
    "OptionalTensorTree",
    OptionalTensor,  # pyright: ignore[reportArgumentType]
)

TensorContainer = dict[str, OptionalTensor]
"""What a module keeps its parameters in."""

ModuleTensorContainers = tuple[TensorContainer, ...]

Params: TypeAlias = TensorTree
Updates: TypeAlias = TensorTree
State: TypeAlias = Any
"""A rule's state: a named tuple of tensors."""

OptState: TypeAlias = TensorTree
LinearSolver = Callable[[Callable[[TensorTree], TensorTree], TensorTree], TensorTree]
"""``solve(matvec, b)``."""

SampleFunc = Callable[[Size], TensorOrTensors]
Samplable = SampleFunc | Distribution
"""Where zero-order methods draw their noise from."""

__all__ = [
    "ChainedGradientTransformation",
    "Device",
    "Distribution",
    "EmptyState",
    "Future",
    "GradientTransformation",
    "Hyper",
    "Leaves",
    "LinearSolver",
    "ListOfOptionalTensors",
    "ListOfTensors",
    "ModuleState",
    "ModuleTensorContainers",
    "Numeric",
    "OptState",
    "OptionalTensor",
    "OptionalTensorOrOptionalTensors",
    "OptionalTensorTree",
    "Params",
    "PyTree",
    "PyTreeTypeVar",
    "Rule",
    "Samplable",
    "SampleFunc",
    "Scalar",
    "ScalarOrSchedule",
    "Schedule",
    "SequenceOfOptionalTensors",
    "SequenceOfTensors",
    "Size",
    "State",
    "Tensor",
    "TensorContainer",
    "TensorOrTensors",
    "TensorTree",
    "Tensors",
    "Tree",
    "TupleOfOptionalTensors",
    "TupleOfTensors",
    "UninitializedState",
    "Updates",
]
