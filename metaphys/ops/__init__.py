"""Multi-tensor operators: a native kernel, a Python reference and derivatives of every order."""

from metaphys.ops import _library
from metaphys.ops._library import Status, status
from metaphys.ops.adam import adam, adam_

__all__ = ["Status", "adam", "adam_", "status"]

_library.load()
