"""What is computed from constants once, and from anything else every time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar, final

import torch
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.autograd import forward_ad

Value = TypeVar("Value")
"""A tensor, or what is made of tensors and has a ``to(tensor)`` as they do."""


@final
class Constant(Generic[Value]):
    """A value that depends on ``sources`` alone, kept for every dtype and device.

    It is computed anew where a source carries a derivative or is mapped by ``vmap``, and after a
    source was changed in place.

    Args:
        sources: all tensors that it depends on; ``None`` is left out.
    """

    def __init__(self, sources: Iterable[Tensor | None]) -> None:
        self._sources = [source for source in sources if source is not None]
        self._kept: dict[tuple[torch.dtype, torch.device], tuple[list[int], Value]] = {}

    def like(self, tensor: Tensor, compute: Callable[[torch.device], Value]) -> Value:
        """``compute(device)``, in the dtype and on the device of ``tensor``."""
        if not self.is_constant():
            return _moved(compute(tensor.device), tensor)
        key, versions = (tensor.dtype, tensor.device), [s._version for s in self._sources]
        kept = self._kept.get(key)
        if kept is None or kept[0] != versions:
            # A tensor made in inference mode could not be used in a graph later.
            with torch.inference_mode(False), torch.no_grad():
                kept = versions, _moved(compute(tensor.device), tensor)
            self._kept[key] = kept
        return kept[1]

    def is_constant(self) -> bool:
        """Whether no source carries a derivative or is mapped; never under ``torch.compile``."""
        if torch.compiler.is_compiling():
            return False
        return not any(
            source.requires_grad
            or source.is_inference()
            or is_functorch_wrapped_tensor(source)
            or (
                forward_ad._current_level >= 0
                and forward_ad.unpack_dual(source).tangent is not None
            )
            for source in self._sources
        )


def _moved(value: Any, like: Tensor) -> Any:
    return value.to(like)
