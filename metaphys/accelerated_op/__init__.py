"""TorchOpt's door to fused operators: whether there are any here, and Adam's as an object.

Nothing has to be asked for: every form of every rule takes a kernel where there is one.
"""

from metaphys.accelerated_op._available import accelerated_op_available, is_available
from metaphys.accelerated_op.adam_op import AdamOp

__all__ = ["AdamOp", "accelerated_op_available", "is_available"]
