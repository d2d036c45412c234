"""Weight decay as a transform."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from metaphys._typing import Hyper, Tensors, Tree
from metaphys.ops._math import cast
from metaphys.optim import _parts
from metaphys.optim._empty import Stateless
from metaphys.optim.rule import Rule


class _Decay(Stateless):
    per_leaf = of_params = ("mask",)

    def check(self, hyper: Mapping[str, Any]) -> None:
        _parts.check_at_least("weight_decay", hyper["weight_decay"])
        _parts.check_mask("mask", hyper["mask"])

    def transform(
        self, grads: Tensors, params: Tensors | None, hyper: Mapping[str, Any]
    ) -> Sequence[torch.Tensor]:
        strength = hyper["weight_decay"]
        if _parts.is_zero(strength):
            return grads
        chosen = _parts.mask_of("mask", hyper["mask"], grads)
        return [
            g + cast(strength, p.dtype) * p if decays else g
            for g, p, decays in zip(grads, _parts.needed(params), chosen)
        ]


def add_decayed_weights(
    weight_decay: Hyper = 0.0,
    mask: Tree | Callable[[Sequence[torch.Tensor]], Sequence[bool]] | None = None,
) -> Rule:
    r"""Add a multiple of the parameters: :math:`u = g + \lambda p`.

    Before an adaptive transform this is L2 regularisation, behind it decoupled weight decay.

    Args:
        weight_decay: λ ≥ 0.
        mask: which parameters decay: a tree of bools like the parameters, or a function of the
            flat list of parameters that gives a list of bools. ``None`` decays all of them.

    Raises:
        ValueError: if λ < 0, or in the update without ``params``.

    Example:
        >>> import torch, metaphys
        >>> params = [torch.tensor([2.0])]
        >>> rule = metaphys.transform.add_decayed_weights(0.1)
        >>> updates, _ = rule.update([torch.tensor([1.0])], rule.init(params), params)
        >>> updates[0]
        tensor([1.2000])
    """
    return Rule(_Decay(), {"weight_decay": weight_decay, "mask": mask})
