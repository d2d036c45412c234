"""Refuse lists that do not belong together, before any kernel reads them."""

from __future__ import annotations

from typing import NoReturn

import torch

from metaphys._errors import check, refuse
from metaphys._typing import Tensors
from metaphys.ops._math import state_dtype

COMPUTED = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def check_lists(
    grads: Tensors, count: torch.Tensor, *, values: dict[str, Tensors], state: dict[str, Tensors]
) -> None:
    """Refuse lists of other lengths, shapes and dtypes than the gradients'.

    Args:
        grads: gradients; float32, float64, bfloat16 or float16.
        count: steps taken by each leaf; int64 (len(grads),).
        values: lists of the gradients' own dtypes, by argument name.
        state: lists of moments, which are float32 for half precision, by argument name.
    """
    lengths = {name: len(each) for name, each in (*values.items(), *state.items())}
    for name, length in lengths.items():
        check(
            length == len(grads),
            name,
            expected=f"a list of {len(grads)} tensors, one for each gradient",
            got=f"{length}",
        )
    check(
        count.dtype is torch.int64 and count.shape == (len(grads),),
        "count",
        expected=f"an int64 tensor of shape ({len(grads)},), the steps of each gradient",
        got=f"{count.dtype} of shape {tuple(count.shape)}",
    )
    dtypes, shapes = [grad.dtype for grad in grads], [grad.shape for grad in grads]
    for dtype in set(dtypes).difference(COMPUTED):
        index = dtypes.index(dtype)
        _refuse_dtype(f"grads[{index}]", grads[index], "float32, float64, bfloat16 or float16")
    for name, tensors in values.items():
        _check_each(name, tensors, dtypes, shapes)
    kept = [state_dtype(dtype) for dtype in dtypes] if state else []
    for name, tensors in state.items():
        _check_each(name, tensors, kept, shapes)


def _check_each(
    name: str, tensors: Tensors, dtypes: list[torch.dtype], shapes: list[torch.Size]
) -> None:
    # Whole lists first, for this runs at every step; leaf by leaf only to say which one is wrong.
    if [t.dtype for t in tensors] == dtypes and [t.shape for t in tensors] == shapes:
        return
    for index, (tensor, dtype, shape) in enumerate(zip(tensors, dtypes, shapes)):
        if tensor.dtype is not dtype:
            _refuse_dtype(f"{name}[{index}]", tensor, f"{dtype}, as belongs to its gradient")
        if tensor.shape != shape:
            refuse(
                f"{name}[{index}]",
                expected=f"of shape {tuple(shape)}, its gradient's",
                got=f"shape {tuple(tensor.shape)}",
            )


def _refuse_dtype(name: str, tensor: torch.Tensor, expected: str) -> NoReturn:
    refuse(name, expected=expected, got=str(tensor.dtype))
