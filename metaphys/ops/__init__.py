"""Multi-tensor operators: a native kernel, a Python reference and derivatives of every order."""

from metaphys.ops import _library, recurrence
from metaphys.ops._library import Status, status
from metaphys.ops.adam import adam, adam_
from metaphys.ops.sgd import sgd, sgd_

__all__ = ["Status", "adam", "adam_", "recurrence", "sgd", "sgd_", "status"]

_library.load()
