"""A step of an unroll as a graph, by TorchDynamo: its guards say whether the graph still holds.

Nothing but reading the step's code is left to torch.compile. It is called once at every unroll, and
finds by its guards the graph that holds, with the tensors that the loss closes over as inputs.
What was compiled of that graph is called directly, without guards, as often as there are steps.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx

from metaphys._replay import random_untouched
from metaphys.meta._loop import Flat

_LIBRARIES = re.compile(
    r"__import__\('torch'\)|G\['(__builtins_dict_|dataclasses'\]"
    r"|__import_(torch|metaphys|dataclasses)(_dot_|'\]))"
)
_LOOP = re.compile(r"(^|\()loop\b|L\['loop'\]")

Step = Callable[..., tuple[Flat, Flat]]
"""``step(loss, carry, consts, batch)``: the next carry, and what the step puts out."""


class Wire(NamedTuple):
    """Where an output of a step comes from: an output of the graph, or an argument of the step."""

    of_graph: bool
    index: int
    copied: bool
    """Whether it shares memory with an argument or another output."""


class Captured:
    """One graph of a step.

    Attributes:
        graph: takes some of the step's arguments, and what the loss closes over.
        sources: for each input of ``graph`` the place among the step's arguments, or of outside
            tensors after these.
        compiled: what was compiled of it.
    """

    def __init__(self, graph: fx.GraphModule) -> None:
        self.graph = graph
        self.sources: list[int] = []
        self.compiled: dict[Any, Any] = {}
        self._wires: list[Wire] = []
        self._results: Sequence[Any] = ()

    def __call__(self, given: Sequence[Tensor]) -> Flat:
        """The step's outputs, carry first, from its arguments and the outside tensors."""
        # As it was read: its own gradients need a graph also where nobody else wants one.
        with torch.enable_grad():
            outputs = self.graph(*(given[source] for source in self.sources))
        found = ((outputs if wire.of_graph else given)[wire.index] for wire in self._wires)
        return tuple(t.clone() if wire.copied else t for t, wire in zip(found, self._wires))

    def results(self, arguments: Sequence[Tensor]) -> Sequence[Any]:
        """What stands for the graph's outputs: right values once, so that they are told apart."""
        if not self._results:
            with random_untouched():
                self._results = self.graph(*(each.detach() for each in arguments))
        return self._results

    def connect(self, given: Flat, arguments: Sequence[Tensor], outputs: Flat) -> None:
        """Learn from one call what is connected to what."""
        places = {id(tensor): place for place, tensor in enumerate(given)}
        outside = len(given)
        for argument in arguments:
            self.sources.append(places.get(id(argument), outside))
            outside += id(argument) not in places
        made = {id(tensor): index for index, tensor in enumerate(self._results)}
        seen = {_memory(tensor) for tensor in (*given, *arguments)}
        for tensor in outputs:
            of_graph = id(tensor) in made
            index = made[id(tensor)] if of_graph else places[id(tensor)]
            self._wires.append(Wire(of_graph, index, _memory(tensor) in seen))
            seen.add(_memory(tensor))
        self._results = tuple(torch.empty(0) for _ in self._results)

    @property
    def outputs(self) -> int:
        """How many tensors a step gives; none before :meth:`connect`."""
        return len(self._wires)


class Capture:
    """The graphs of ``step``: one for each set of shapes, and of what its code depends on."""

    def __init__(self, step: Step) -> None:
        self._found: tuple[Captured, Sequence[Tensor]] | None = None
        # torch keeps few of what it compiled by code object: every unroll has its own.
        code = step.__code__.replace()  # type: ignore[attr-defined]
        own: Any = FunctionType(code, step.__globals__, closure=step.__closure__)  # type: ignore[attr-defined]
        options: Any = {"guard_filter_fn": _kept_guards}
        self._guarded = torch.compile(
            own, fullgraph=True, dynamic=False, backend=self._keep, options=options
        )

    def _keep(self, graph: fx.GraphModule, *_: Any, **__: Any) -> Callable[..., Any]:
        captured = Captured(graph)

        def call(*arguments: Tensor) -> Sequence[Any]:
            self._found = captured, arguments
            return captured.results(arguments)

        return call

    def __call__(
        self, loss: Callable[..., Any], carry: Flat, consts: Flat, batch: Flat
    ) -> tuple[Captured, Flat]:
        """The graph for these arguments, and the outside tensors that it reads."""
        # Each a tensor of its own, also where one was given twice; laid out as programs want it.
        given = carry, consts, batch
        parts = [tuple(tensor.detach().contiguous() for tensor in part) for part in given]
        with torch.enable_grad():
            after, each = self._guarded(loss, *parts)
        if self._found is None:
            raise NotImplementedError("a step without any operation")
        (captured, arguments), self._found = self._found, None
        count = sum(map(len, parts))
        if not captured.outputs:
            captured.connect((*parts[0], *parts[1], *parts[2]), arguments, (*after, *each))
        return captured, tuple(
            each for each, source in zip(arguments, captured.sources) if source >= count
        )


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr() if tensor.numel() else id(tensor)


def _kept_guards(guards: Sequence[Any]) -> list[bool]:
    """All but those on what a capture is looked up by anyway, and on code of libraries."""
    return [not (_is_library(guard) or _is_known(guard)) for guard in guards]


def _is_library(guard: Any) -> bool:
    return _LIBRARIES.search(guard.name) is not None


def _is_known(guard: Any) -> bool:
    if not _LOOP.search(guard.name) or ".callback" in guard.name or ".cores" in guard.name:
        return False
    return "._leaves[" not in guard.name or (guard.name.endswith("]") and _is_plain(guard))


def _is_plain(guard: Any) -> bool:
    return guard.has_value and isinstance(guard.value, (int, float, str, type(None)))
