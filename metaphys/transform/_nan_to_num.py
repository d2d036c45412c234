"""Numbers in place of what is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from metaphys._typing import Tensors
from metaphys.optim import _parts
from metaphys.optim._empty import Stateless
from metaphys.optim.rule import Rule


class _NanToNum(Stateless):
    static = ("nan", "posinf", "neginf")

    def check(self, hyper: Mapping[str, Any]) -> None:
        for name, value in hyper.items():
            _parts.check_replacement(name, value)

    def transform(
        self, grads: Tensors, params: Tensors | None, hyper: Mapping[str, Any]
    ) -> Sequence[torch.Tensor]:
        return [torch.nan_to_num(grad, **hyper) for grad in grads]


def nan_to_num(nan: float = 0.0, posinf: float | None = None, neginf: float | None = None) -> Rule:
    """Replace NaN and infinities in gradients, as ``torch.nan_to_num``.

    The derivative by an entry that is replaced is 0.

    Args:
        nan: in place of NaN.
        posinf: in place of ∞; the largest finite number of the dtype by default.
        neginf: in place of -∞; the smallest by default.

    Raises:
        TypeError: if one of them is no number.

    Example:
        >>> import torch, metaphys
        >>> rule = metaphys.transform.nan_to_num(nan=0.0, posinf=1.0)
        >>> grads = [torch.tensor([float("nan"), float("inf"), 2.0])]
        >>> rule.update(grads, rule.init(grads))[0]
        [tensor([0., 1., 2.])]
    """
    return Rule(_NanToNum(), {"nan": nan, "posinf": posinf, "neginf": neginf})
