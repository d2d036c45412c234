"""What an adjoint is: a way of running an unroll that decides how it is differentiated."""

from __future__ import annotations

from abc import ABC, abstractmethod

from metaphys.meta._loop import Inputs, Loop, Outputs


class Adjoint(ABC):
    """How :func:`metaphys.unroll` is differentiated; the values are the same for all."""

    @abstractmethod
    def run(self, loop: Loop, inputs: Inputs) -> Outputs:
        """The unroll ``loop`` from ``inputs``, differentiable in the adjoint's way."""
