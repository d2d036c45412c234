"""Take the state of a module or a meta-optimizer, and put it back.

An inner loop changes a module; before the next task it has to be as it was. These functions copy
TorchOpt's interface and mend what it gets wrong: buffers are really restored, as often as asked,
and tied weights stay tied.
"""

from __future__ import annotations

from typing import Any, NamedTuple, overload

import torch
from torch import nn

from metaphys._errors import check, refuse
from metaphys._slots import containers
from metaphys._tree import map_tensors
from metaphys.meta._containers import check_match, converted, visual_contents
from metaphys.meta._tensors import By, buffer_copier, converter
from metaphys.meta.optimizer import MetaOptimizer


class ModuleState(NamedTuple):
    """The parameters and buffers of a module, one dict for each submodule that has any.

    Attributes:
        params: parameters, by submodule and name.
        buffers: buffers, likewise. These are copies: a buffer such as BatchNorm's running mean is
            changed in place, so that a reference to it would change with it.
        visual_contents: names for a picture of the graph, or ``None``.
        detach_buffers: whether buffers are put back without their graph.
    """

    params: tuple[dict[str, torch.Tensor], ...]
    buffers: tuple[dict[str, torch.Tensor], ...]
    visual_contents: dict[Any, Any] | None = None
    detach_buffers: bool = False


OptimizerState = tuple[Any, ...]
"""The state of a :class:`MetaOptimizer`: one state of its rule for each module."""


@overload
def extract_state_dict(
    target: nn.Module,
    *,
    by: By = ...,
    device: torch.device | str | None = ...,
    with_buffers: bool = ...,
    detach_buffers: bool = ...,
    enable_visual: bool = ...,
    visual_prefix: str = ...,
) -> ModuleState: ...
@overload
def extract_state_dict(
    target: MetaOptimizer,
    *,
    by: By = ...,
    device: torch.device | str | None = ...,
    with_buffers: bool = ...,
    detach_buffers: bool = ...,
    enable_visual: bool = ...,
    visual_prefix: str = ...,
) -> OptimizerState: ...
def extract_state_dict(
    target: nn.Module | MetaOptimizer,
    *,
    by: By = "reference",
    device: torch.device | str | None = None,
    with_buffers: bool = True,
    detach_buffers: bool = False,
    enable_visual: bool = False,
    visual_prefix: str = "",
) -> ModuleState | OptimizerState:
    """Take the state of a module or a meta-optimizer, to put back later.

    Args:
        target: the module or meta-optimizer.
        by: ``reference`` takes the tensors themselves, ``copy`` clones them with a graph to the
            source, ``deepcopy`` clones them without one.
        device: where to put the tensors; ``None`` leaves them.
        with_buffers: take buffers too.
        detach_buffers: take and restore buffers without their graph.
        enable_visual: also collect names for a picture of the graph.
        visual_prefix: put before these names.

    Returns:
        What :func:`recover_state_dict` takes, as often as wanted.

    Raises:
        ValueError: if ``by`` is none of these.
        TypeError: if ``target`` is neither.

    Example:
        >>> import torch, metaphys
        >>> net = torch.nn.Linear(1, 1)
        >>> state = metaphys.extract_state_dict(net)
        >>> optimizer = metaphys.MetaSGD(net, lr=0.1)
        >>> optimizer.step(net(torch.ones(1, 1)).sum())
        >>> metaphys.recover_state_dict(net, state)
        >>> isinstance(net.weight, torch.nn.Parameter)
        True
    """
    convert = converter(by, device)
    if isinstance(target, MetaOptimizer):
        return map_tensors(convert, target.state_dict())
    if not isinstance(target, nn.Module):
        refuse(
            "target",
            expected="an nn.Module or a MetaOptimizer",
            got=type(target).__name__,
            error=TypeError,
        )
    params = tuple(converted(each, convert) for each in containers(target, "_parameters"))
    buffers: tuple[dict[str, torch.Tensor], ...] = ()
    if with_buffers:
        keep = buffer_copier(detach_buffers)
        buffers = tuple(
            converted(converted(each, keep), convert) for each in containers(target, "_buffers")
        )
    names = visual_contents(target, visual_prefix) if enable_visual else None
    return ModuleState(params, buffers, names, detach_buffers)


def recover_state_dict(
    target: nn.Module | MetaOptimizer, state: ModuleState | OptimizerState
) -> None:
    """Put back what :func:`extract_state_dict` took; may be called any number of times.

    Args:
        target: the module or meta-optimizer that the state was taken from, or one like it.
        state: the state.

    Raises:
        TypeError: if a module's state is given for an optimizer or the reverse.
        ValueError: if the state belongs to a module of another structure. Nothing is changed.

    Example:
        >>> import torch, metaphys
        >>> net = torch.nn.Linear(1, 1)
        >>> optimizer = metaphys.MetaAdam(net, lr=0.1)
        >>> before = net.weight, metaphys.extract_state_dict(net)
        >>> state = metaphys.extract_state_dict(optimizer)
        >>> optimizer.step(net(torch.ones(1, 1)).sum())
        >>> metaphys.recover_state_dict(net, before[1])
        >>> metaphys.recover_state_dict(optimizer, state)
        >>> net.weight is before[0]
        True
    """
    if isinstance(target, MetaOptimizer):
        check(
            isinstance(state, tuple) and not isinstance(state, ModuleState),
            "state",
            expected="the state of a MetaOptimizer",
            got=type(state).__name__,
            error=TypeError,
        )
        target.load_state_dict(state)
        return
    if not isinstance(state, ModuleState) or not isinstance(target, nn.Module):
        refuse(
            "state" if isinstance(target, nn.Module) else "target",
            expected="a ModuleState for an nn.Module",
            got=f"{type(state).__name__} for {type(target).__name__}",
            error=TypeError,
        )
    params, buffers = containers(target, "_parameters"), containers(target, "_buffers")
    check_match(params, state.params, "params")
    if state.buffers:
        check_match(buffers, state.buffers, "buffers")
    for container, values in zip(params, state.params):
        container.update(values)
    keep = buffer_copier(state.detach_buffers)
    for container, values in zip(buffers, state.buffers):
        # A copy again: the module changes its buffers in place, the state must not change.
        container.update(converted(values, keep))
