"""Other tensors in the places of a module's own, for a while or for good."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from metaphys._errors import check, check_kind, refuse
from metaphys._slots import Slot, tensor_slots

MISSING: Any = object()
"""The original of an attribute that there was none of; swapped back in, it goes away again."""

NamedTensors = Mapping[str, Tensor] | Iterable[tuple[str, Tensor]]


def swap_state(
    module: nn.Module, named_tensors: NamedTensors, allow_missing: bool = False
) -> dict[str, Tensor]:
    """Put tensors in the places of a module's parameters and buffers, out of place.

    A tensor that is tied is replaced in all of its places, whichever of its names is given.

    Args:
        module: the module.
        named_tensors: the tensors by dotted name, as a dict or as pairs.
        allow_missing: make an attribute of a name that there is none of.

    Returns:
        What was there before, by the same names: a second call with it undoes the first.

    Raises:
        ValueError: if there is no such tensor, or two names of one tied tensor get different ones.
            Nothing is changed then.

    Example:
        >>> import torch, metaphys
        >>> net = torch.nn.Linear(1, 1, bias=False)
        >>> before = metaphys.nn.swap_state(net, {"weight": torch.tensor([[2.0]])})
        >>> net(torch.ones(1, 1))
        tensor([[2.]])
        >>> _ = metaphys.nn.swap_state(net, before)
        >>> isinstance(net.weight, torch.nn.Parameter)
        True
    """
    check_kind(module, nn.Module, "module", expected="an nn.Module")
    given = dict(named_tensors)
    kinds = ("_parameters", "_buffers", "_meta_parameters")
    slots = {name: slot for slot in tensor_slots(module, kinds) for name in slot.names}
    _check_ties(given, slots)
    attributes = {
        name: _attribute(module, name, allow_missing) for name in given if name not in slots
    }
    before = {}
    for name in given:
        before[name] = slots[name].get() if name in slots else _value(*attributes[name])
    for name, value in given.items():
        if name in slots:
            slots[name].set(value)
        elif value is MISSING:
            delattr(*attributes[name])
        else:
            setattr(*attributes[name], value)
    return before


@contextmanager
def reparametrize(
    module: nn.Module, named_tensors: NamedTensors, allow_missing: bool = False
) -> Iterator[nn.Module]:
    """:func:`swap_state` as long as the context lasts; afterwards all is as it was.

    Derivatives flow to ``named_tensors``. What the module replaces meanwhile is lost. Also under
    the name ``reparameterize``.

    Args:
        module: see :func:`swap_state`, as for the others.
        named_tensors: the tensors by dotted name.
        allow_missing: make an attribute of a name that there is none of.

    Example:
        >>> import torch, metaphys
        >>> net = torch.nn.Linear(1, 1, bias=False)
        >>> weight = torch.tensor([[2.0]], requires_grad=True)
        >>> with metaphys.nn.reparametrize(net, {"weight": weight}):
        ...     out = net(torch.full((1, 1), 3.0))
        >>> torch.autograd.grad(out, weight)
        (tensor([[3.]]),)
    """
    before = swap_state(module, named_tensors, allow_missing)
    try:
        yield module
    finally:
        swap_state(module, before, allow_missing)


reparameterize = reparametrize


def _check_ties(given: Mapping[str, Tensor], slots: Mapping[str, Slot]) -> None:
    for name, value in given.items():
        for other in slots[name].names if name in slots else ():
            check(
                given.get(other, value) is value,
                "named_tensors",
                expected="the same tensor for all names of one that is tied",
                got=f"different ones for {name} and {other}",
                remedy="Give one of the names.",
            )


def _attribute(module: nn.Module, name: str, allow_missing: bool) -> tuple[Any, str]:
    """The submodule and the attribute that a name stands for, if it may be set."""
    prefix, _, attribute = name.rpartition(".")
    try:
        owner: Any = module.get_submodule(prefix)
    except AttributeError:
        refuse("named_tensors", expected="names in the module", got=f"{name}, without a submodule")
    value = _value(owner, attribute)
    # None is a parameter or a buffer that the module goes without.
    known = isinstance(value, Tensor) or value is None
    check(
        known or (value is MISSING and allow_missing),
        "named_tensors",
        expected="names of the module's tensors",
        got=f"{name}, which is none",
        remedy="" if value is not MISSING else "allow_missing=True makes new ones.",
    )
    return owner, attribute


def _value(owner: Any, attribute: str) -> Any:
    return getattr(owner, attribute, MISSING)
