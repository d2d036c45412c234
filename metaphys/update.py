"""TorchOpt's door to :func:`metaphys.apply_updates`."""

from metaphys.optim import (
    apply_updates,
)

__all__ = [
    "apply_updates",
]
