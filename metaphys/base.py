"""TorchOpt's door to what rules and states are."""

from metaphys.optim import (
    EmptyState,
    GradientTransformation,
    identity,
)

__all__ = [
    "EmptyState",
    "GradientTransformation",
    "identity",
]
