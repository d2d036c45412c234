"""Operators of rules that are one function of a leaf: everything but that function.

A rule says its mathematics once, as a function of one leaf in Python; from it follow the
operator's Python implementation, the reference and its derivatives. ``csrc/leafwise.h`` does the
same for the native kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, final

import torch

from metaphys._typing import Tensors
from metaphys.ops._fused import (
    Config,
    Flat,
    Kernel,
    fresh,
    reference_vjp,
    register_derivative,
    written,
)
from metaphys.ops._library import LIBRARY
from metaphys.ops._math import state_dtype

Numbers = tuple[float, ...]
Leaf = Callable[
    [torch.Tensor, tuple[torch.Tensor, ...], tuple[Any, ...], tuple[Any, ...]],
    tuple[torch.Tensor, tuple[torch.Tensor, ...]],
]

_CONSTANTS = "Tensor factors, float[] numbers"


@final
class LeafOperator:
    """A multi-tensor operator that does the same to every leaf, differentiable to any order.

    Args:
        name: the operator is ``torch.ops.metaphys.<name>``, with ``<name>_vjp`` and ``<name>_``.
        leaf: ``leaf(grad, moments, factors, numbers) -> (update, moments)``, in the dtype of the
            moments. ``factors`` are this leaf's own numbers, ``numbers`` those of all leaves.
    """

    def __init__(self, name: str, leaf: Leaf) -> None:
        self.name, self.leaf = name, leaf
        LIBRARY.define(
            f"{name}(Tensor[] grads, Tensor[] moments, {_CONSTANTS}) -> (Tensor[], Tensor[])"
        )
        LIBRARY.define(
            f"{name}_vjp(Tensor[] cot_updates, Tensor[] cot_moments, Tensor[] grads,"
            f" Tensor[] moments, {_CONSTANTS}) -> (Tensor[], Tensor[])"
        )
        LIBRARY.define(
            f"{name}_(Tensor(a!)[] params, Tensor[] grads, Tensor(b!)[] moments, {_CONSTANTS},"
            " float weight_decay, float shrink, bool maximize) -> ()"
        )
        kind = "CompositeExplicitAutograd"
        LIBRARY.impl(name, fresh(self._update), kind)
        LIBRARY.impl(f"{name}_vjp", fresh(self._pullback), kind)
        LIBRARY.impl(f"{name}_", fresh(self._in_place), kind)
        self._run = getattr(torch.ops.metaphys, name).default
        self._run_vjp = getattr(torch.ops.metaphys, f"{name}_vjp").default
        self._run_in_place = getattr(torch.ops.metaphys, f"{name}_").default
        self._vjp_kernel = Kernel(self._flat_vjp, self._vjp_reference)
        self._kernel = Kernel(
            self._flat,
            self._reference,
            vjp=self._vjp,
            numbers=1,
            configure=lambda lists, numbers: (len(lists[0]), *numbers[0]),
        )
        register_derivative(name, self._kernel, lists=2)

    def __call__(
        self,
        grads: Tensors,
        moments: Sequence[Tensors],
        factors: torch.Tensor,
        numbers: Numbers,
    ) -> tuple[Flat, list[Flat]]:
        """The updates and the next moments.

        Args:
            grads: n gradients, any shapes, layouts and mix of dtypes.
            moments: for each moment a list of n, of the gradients' shapes; float32 for
                half-precision gradients.
            factors: (n, F), float64, on the CPU.
            numbers: as :attr:`leaf` has them.
        """
        config = (len(grads), *numbers)
        flat = self._kernel(config, (*grads, *(m for each in moments for m in each), factors))
        first, *rest = _columns(flat, len(grads), len(moments) + 1)
        return first, rest

    def in_place(
        self,
        params: Tensors,
        grads: Tensors,
        moments: Sequence[Tensors],
        factors: torch.Tensor,
        numbers: Numbers,
        *,
        weight_decay: float = 0.0,
        shrink: float = 0.0,
        maximize: bool = False,
    ) -> None:
        """One step without a graph: writes ``params`` and ``moments``.

        Args:
            params: parameters of the gradients' shapes and dtypes.
            grads: see :meth:`__call__`.
            moments: see :meth:`__call__`.
            factors: see :meth:`__call__`.
            numbers: see :meth:`__call__`.
            weight_decay: times the parameter is added to the gradient.
            shrink: times the parameter is added to the parameter.
            maximize: use -g.
        """
        flat = [moment for each in moments for moment in each]
        self._run_in_place(
            params, grads, flat, factors, list(numbers), weight_decay, shrink, maximize
        )
        written(params, flat)

    def _flat(self, config: Config, tensors: Flat) -> Flat:
        n, *numbers = config
        return _joined(self._run(tensors[:n], tensors[n:-1], tensors[-1], numbers))

    def _flat_vjp(self, config: Config, tensors: Flat) -> Flat:
        n, *numbers = config
        half = (len(tensors) - 1) // 2
        updates, moments = tensors[:n], tensors[n:half]
        grads, before = tensors[half : half + n], tensors[half + n : -1]
        return _joined(self._run_vjp(updates, moments, grads, before, tensors[-1], numbers))

    def _vjp(self, config: Config, residuals: Flat, cotangents: Flat) -> Sequence[Any]:
        return (*self._vjp_kernel(config, (*cotangents, *residuals)), None)

    def _reference(self, config: Config, tensors: Flat) -> Flat:
        n, *numbers = config
        return _joined(self._update(tensors[:n], tensors[n:-1], tensors[-1], numbers))

    def _vjp_reference(self, config: Config, tensors: Flat) -> Flat:
        half = (len(tensors) - 1) // 2
        pulled = reference_vjp(self._reference, config, tensors[half:], tensors[:half])
        return tuple(pulled[:-1])  # type: ignore[arg-type]

    def _update(
        self, grads: Tensors, moments: Tensors, factors: torch.Tensor, numbers: Sequence[Any]
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        n = len(grads)
        updates, after = [], []
        for index, (grad, row) in enumerate(zip(grads, factors.unbind(0))):
            dtype = state_dtype(grad.dtype)
            own = tuple(factor.to(dtype) for factor in row.unbind(0))
            update, new = self.leaf(grad.to(dtype), tuple(moments[index::n]), own, tuple(numbers))
            updates.append(update.to(grad.dtype))
            after.append(new)
        return updates, [moment for column in zip(*after) for moment in column]

    def _pullback(
        self,
        cot_updates: Tensors,
        cot_moments: Tensors,
        grads: Tensors,
        moments: Tensors,
        factors: torch.Tensor,
        numbers: Sequence[float],
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        n = len(grads)
        tensors = (*cot_updates, *cot_moments, *grads, *moments, factors)
        found = self._vjp_reference((n, *numbers), tensors)
        return list(found[:n]), list(found[n:])

    def _in_place(
        self,
        params: Tensors,
        grads: Tensors,
        moments: Tensors,
        factors: torch.Tensor,
        numbers: Sequence[float],
        weight_decay: float,
        shrink: float,
        maximize: bool,
    ) -> None:
        signed = [-grad if maximize else grad for grad in grads]
        if weight_decay:
            signed = [g.add(p, alpha=weight_decay) for g, p in zip(signed, params)]
        updates, after = self._update(signed, moments, factors, numbers)
        for param, update in zip(params, updates):
            param.add_(update.add(param, alpha=shrink) if shrink else update)
        for old, new in zip(moments, after):
            old.copy_(new)


def _columns(flat: Flat, n: int, parts: int) -> list[Flat]:
    return [flat[part * n : (part + 1) * n] for part in range(parts)]


def _joined(lists: tuple[Sequence[torch.Tensor], Sequence[torch.Tensor]]) -> Flat:
    return (*lists[0], *lists[1])
