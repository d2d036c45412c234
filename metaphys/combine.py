"""TorchOpt's door to :func:`metaphys.chain`."""

from metaphys.optim import (
    chain,
    chain_flat,
)

__all__ = [
    "chain",
    "chain_flat",
]
