"""What the tensors in a picture are called."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from typing import Any

import torch

from metaphys._errors import check, refuse
from metaphys.meta.state import ModuleState

Given = Mapping[Any, Any] | ModuleState | Iterable[Any] | None


class Names:
    """What tensors are called: leaves by themselves, results by the operation they come from."""

    def __init__(self) -> None:
        self.leaves: dict[int, list[str]] = {}
        self.results: dict[Any, tuple[list[str], torch.Tensor]] = {}
        self._kept: list[torch.Tensor] = []  # so that an id stays theirs

    def add(self, name: str, tensor: torch.Tensor) -> None:
        if tensor.grad_fn is None:
            names = self.leaves.setdefault(id(tensor), [])
        else:
            names = self.results.setdefault(tensor.grad_fn, ([], tensor))[0]
        self._kept.append(tensor)
        if name not in names:
            names.append(name)

    def of(self, tensor: torch.Tensor) -> str:
        names = self.leaves.get(id(tensor), [])
        if tensor.grad_fn is not None:
            names = self.results.get(tensor.grad_fn, ([], tensor))[0]
        return ", ".join(names)


def names_of(params: Given) -> Names:
    names = Names()
    for source in _sources(params):
        contents = (source.visual_contents or {}) if isinstance(source, ModuleState) else source
        for key, value in contents.items():
            if isinstance(value, torch.Tensor):  # {name: tensor}
                names.add(str(key), value)
            elif isinstance(value, tuple):  # {operation: (name, tensor)}
                names.results.setdefault(key, ([], value[1]))[0].append(value[0])
            else:  # {tensor: name}
                check_tensor(key, "params")
                names.add(value, key)
    return names


def _sources(params: Given) -> list[Any]:
    """``params`` as a list of dicts and module states."""
    if params is None:
        return []
    if isinstance(params, ModuleState):
        check(
            params.visual_contents is not None,
            "params",
            expected="a state extracted with enable_visual=True",
            got="one without names",
        )
        return [params]
    if isinstance(params, Mapping):
        return [params]
    if isinstance(params, Generator) or _pairs(params):
        return [dict(params)]
    if not isinstance(params, (list, tuple)):
        refuse(
            "params",
            expected="a dict, a ModuleState, pairs of name and tensor, or a list of these",
            got=f"a {type(params).__name__}",
            error=TypeError,
        )
    return [source for each in params for source in _sources(each)]


def _pairs(params: Any) -> bool:
    return isinstance(params, (list, tuple)) and all(
        isinstance(each, tuple) and len(each) == 2 and isinstance(each[0], str) for each in params
    )


def check_tensor(value: Any, argument: str) -> None:
    check(
        isinstance(value, torch.Tensor),
        argument,
        expected="tensors",
        got=f"a {type(value).__name__}",
        error=TypeError,
    )
