"""How an unroll is differentiated: objects for the ``adjoint`` of :func:`metaphys.unroll`."""

from metaphys.meta.adjoint._base import Adjoint
from metaphys.meta.adjoint._checkpoint import Checkpoint
from metaphys.meta.adjoint._forward import Forward
from metaphys.meta.adjoint._full import Full
from metaphys.meta.adjoint._mixed import Mixed
from metaphys.meta.adjoint._one_step import OneStep
from metaphys.meta.adjoint._truncated import Truncated

__all__ = ["Adjoint", "Checkpoint", "Forward", "Full", "Mixed", "OneStep", "Truncated"]
