"""What a schedule is: a frozen dataclass that is called with the steps, and a tree of its fields.

The registration with optree is what makes its tensors visible to those who flatten the
hyper-parameters of a rule, such as the adjoints of an unroll.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any, TypeVar

import optree.registry
import torch

from metaphys._errors import check
from metaphys._typing import Scalar
from metaphys.ops._math import beside
from metaphys.optim import _parts

Kind = TypeVar("Kind", bound=type)
GLOBAL = getattr(optree.registry, "__GLOBAL_NAMESPACE")


def scheduled(kind: Kind) -> Kind:
    """A frozen dataclass, made a tree of its fields."""
    names = [field.name for field in fields(kind)]

    def children(schedule: Any) -> tuple[tuple[Any, ...], None, tuple[str, ...]]:
        return tuple(getattr(schedule, name) for name in names), None, tuple(names)

    def rebuilt(_: Any, values: Any) -> Any:
        return kind(*values)

    optree.register_pytree_node(kind, children, rebuilt, namespace=GLOBAL)
    # It holds data and no code, so `torch.load(weights_only=True)` may make it again.
    torch.serialization.add_safe_globals([kind])
    return kind


def steps_so_far(count: Any, *values: Scalar | None) -> torch.Tensor:
    """The argument of a schedule as a float64 tensor, where the parameters ``values`` are.

    Steps are counted on the CPU. Beside a parameter that is learned on another device they would
    meet it in operators of two devices, whose derivatives torch does not have for all of them.
    """
    # as_tensor would take a tensor to torch's default device.
    steps = count if isinstance(count, torch.Tensor) else torch.as_tensor(count)
    for value in values:
        if isinstance(value, torch.Tensor):
            steps = beside(value, steps)
    return steps.to(torch.float64)


def double(value: Scalar) -> Any:
    """A parameter in float64, as schedules compute."""
    return value.to(torch.float64) if isinstance(value, torch.Tensor) else value


def check_number(name: str, value: Any) -> None:
    """Refuse what is neither a finite number nor a 0-d tensor."""
    _parts.check_finite(name, value)
    check(
        isinstance(value, torch.Tensor) or not callable(value),
        name,
        expected="a number or a tensor",
        got=value,
        error=TypeError,
    )
