"""TorchOpt's door to what rules and states are."""

from metaphys.optim import (
    ChainedGradientTransformation,
    EmptyState,
    GradientTransformation,
    IdentityGradientTransformation,
    UninitializedState,
    identity,
)

__all__ = [
    "ChainedGradientTransformation",
    "EmptyState",
    "GradientTransformation",
    "IdentityGradientTransformation",
    "UninitializedState",
    "identity",
]
