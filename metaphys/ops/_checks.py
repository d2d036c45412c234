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
    for index, grad in enumerate(grads):
        if grad.dtype not in COMPUTED:
            _refuse_dtype(f"grads[{index}]", grad, "float32, float64, bfloat16 or float16")
    for name, tensors in values.items():
        _check_each(name, tensors, grads, [grad.dtype for grad in grads])
    kept = [state_dtype(grad.dtype) for grad in grads] if state else []
    for name, tensors in state.items():
        _check_each(name, tensors, grads, kept)


def _check_each(name: str, tensors: Tensors, grads: Tensors, dtypes: list[torch.dtype]) -> None:
    for index, (tensor, grad, dtype) in enumerate(zip(tensors, grads, dtypes)):
        # `is` and one comparison of shapes: this runs for every leaf of every step.
        if tensor.dtype is not dtype:
            _refuse_dtype(f"{name}[{index}]", tensor, f"{dtype}, as belongs to its gradient")
        if tensor.shape != grad.shape:
            refuse(
                f"{name}[{index}]",
                expected=f"of shape {tuple(grad.shape)}, its gradient's",
                got=f"shape {tuple(tensor.shape)}",
            )


def _refuse_dtype(name: str, tensor: torch.Tensor, expected: str) -> NoReturn:
    refuse(name, expected=expected, got=str(tensor.dtype))
