"""From gradients to the next parameters, where some leaves may have no gradient."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from metaphys._errors import check, refuse
from metaphys._tree import flatten_like, flatten_tensors, unflatten
from metaphys._typing import Leaves, Tree
from metaphys.ops._checks import COMPUTED
from metaphys.optim._core import Core, select, select_hyper
from metaphys.optim._state import merge_state, select_state, steps_of


def update_leaves(
    core: Core, grads: Leaves, state: Any, params: Leaves | None, hyper: Mapping[str, Any]
) -> tuple[list[torch.Tensor | None], Any]:
    """``core.update`` where some leaves may have no gradient; those keep their state."""
    n = len(steps_of(state))
    if len(grads) != n:
        refuse(
            "grads",
            expected=f"a tree of the {n} tensors that `init` was given",
            got=f"{len(grads)} leaves",
            remedy="Make a new state with `init` when parameters come or go.",
        )
    _check_gradients(grads, params, anything=core.any_dtype)
    hyper = core.resolve(hyper, state, grads if params is None else params)
    if all(grad is not None for grad in grads):
        updates, state = core.update(grads, state, params, hyper)  # type: ignore[arg-type]
        return list(updates), state
    present = [index for index, grad in enumerate(grads) if grad is not None]
    result: list[torch.Tensor | None] = [None] * len(grads)
    if not present:
        return result, state
    updates, part = core.update(
        select(grads, present),
        select_state(state, present),
        None if params is None else select(params, present),
        select_hyper(hyper, present),
    )
    for index, update in zip(present, updates):
        result[index] = update
    return result, merge_state(state, part, present)


def _check_gradients(grads: Leaves, params: Leaves | None, *, anything: bool) -> None:
    """Refuse gradients that are not like the parameters: they would broadcast, or meet no kernel.

    Args:
        grads: gradients or ``None``.
        params: the parameters, if they are given.
        anything: a user's own functions may compute with complex numbers, too.
    """
    for index, grad in enumerate(grads):
        if grad is None:
            continue
        dtype, layout = grad.dtype, grad.layout
        known = dtype in COMPUTED or (anything and (dtype.is_complex or dtype.is_floating_point))
        if layout is not torch.strided or not known:
            expected = "dense, and float32, float64, bfloat16 or float16"
            refuse(f"grads[{index}]", expected=expected, got=f"{layout}, {dtype}")
        if params is not None and grad.shape != params[index].shape:  # type: ignore[union-attr]
            refuse(
                f"grads[{index}]",
                expected=f"of shape {tuple(params[index].shape)}, its parameter's",  # type: ignore[union-attr]
                got=f"shape {tuple(grad.shape)}",
            )


def apply_updates(params: Tree, updates: Tree, *, inplace: bool = True) -> Tree:
    """``params + updates``, leaf by leaf; a ``None`` update leaves its parameter as it is.

    Args:
        params: any tree of tensors.
        updates: a tree of the same structure, as ``rule.update`` returns it.
        inplace: write into the tensors of ``params``, without a graph. Choose ``False`` to
            differentiate through the step.

    Returns:
        The new parameters; with ``inplace`` these are the tensors of ``params`` themselves.

    Raises:
        ValueError: if the structures, shapes or devices differ, or a parameter cannot hold an
            update's dtype; nothing is written then.

    Example:
        >>> import torch, metaphys
        >>> params = {"w": torch.tensor([1.0]), "b": torch.tensor([2.0])}
        >>> updates = {"w": torch.tensor([-0.5]), "b": None}
        >>> metaphys.apply_updates(params, updates, inplace=False)
        {'w': tensor([0.5000]), 'b': tensor([2.])}
    """
    leaves, spec = flatten_tensors(params, "params")
    changes = flatten_like(updates, spec, "updates", "params")
    pairs = [(p, u) for p, u in zip(leaves, changes) if p is not None and u is not None]
    for param, change in pairs:
        check(
            param.shape == change.shape,
            "updates",
            expected=f"of shape {tuple(param.shape)}, the parameter's",
            got=f"shape {tuple(change.shape)}",
        )
        check(
            param.device == change.device and _kind(change) <= _kind(param),
            "updates",
            expected=f"like the parameter, {param.dtype} on {param.device}",
            got=f"{change.dtype} on {change.device}",
        )
    if inplace:
        with torch.no_grad():
            for param, change in pairs:
                param.add_(change)
        return params
    return unflatten(spec, add_updates(leaves, changes))


def _kind(tensor: torch.Tensor) -> int:
    """Complex above real above whole: what is above cannot be written into what is below."""
    return 2 if tensor.is_complex() else int(tensor.is_floating_point())


def add_updates(params: Leaves, updates: Leaves) -> list[torch.Tensor | None]:
    """``params + updates`` on flat lists, out of place; ``None`` updates change nothing.

    Parameters keep their dtype, as they do in place.
    """
    return [p if p is None or u is None else (p + u).to(p.dtype) for p, u in zip(params, updates)]
