"""Pictures of autograd graphs, after torchviz and TorchOpt's version of it.

Needs the package ``graphviz`` (``pip install 'metaphys[visual]'``), and to render a picture the
programs of Graphviz itself.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch

from metaphys._errors import check, refuse
from metaphys._tree import flatten
from metaphys._typing import Tree
from metaphys.meta.state import ModuleState

if TYPE_CHECKING:
    import graphviz

__all__ = ["make_dot", "resize_graph"]

Names = Mapping[Any, Any] | ModuleState | Iterable[Any] | None

LEAF, NAMED, OUTPUT, SAVED, OPERATION = (
    "lightblue", "khaki1", "darkolivegreen1", "orange", "lightgrey",
)  # fmt: skip


def make_dot(
    var: Tree,
    params: Names = None,
    show_attrs: bool = False,
    show_saved: bool = False,
    max_attr_chars: int = 50,
) -> graphviz.Digraph:
    """The autograd graph behind ``var``, from the leaves at the top to ``var`` at the bottom.

    Operations are grey, leaves blue, tensors in between that have a name yellow, ``var`` green,
    saved tensors orange.

    Args:
        var: a tensor, or a tree of them.
        params: names. A dict from name to tensor; pairs such as ``named_parameters()`` gives; a
            :class:`metaphys.ModuleState` extracted with ``enable_visual=True``, which also names
            the parameters after a step; or a list of these.
        show_attrs: also show what an operation keeps that is no tensor.
        show_saved: also show the tensors that an operation keeps for its derivative.
        max_attr_chars: where the values of attributes are cut off, >= 3.

    Raises:
        ModuleNotFoundError: if graphviz is not installed.
        TypeError: if ``var`` or ``params`` hold something else.
        ValueError: if nothing in ``var`` has a graph.

    Example:
        >>> import torch, metaphys
        >>> net = torch.nn.Linear(1, 1, bias=False)
        >>> start = metaphys.extract_state_dict(net, enable_visual=True, visual_prefix="step0.")
        >>> optimizer = metaphys.MetaSGD(net, lr=1.0)
        >>> optimizer.step(net(torch.ones(1, 1)).sum())
        >>> end = metaphys.extract_state_dict(net, enable_visual=True, visual_prefix="step1.")
        >>> dot = metaphys.visual.make_dot(net(torch.ones(1, 1)).sum(), [start, end])
        >>> "step0.weight" in dot.source and "step1.weight" in dot.source
        True
    """
    cut = isinstance(max_attr_chars, int) and max_attr_chars >= 3
    check(cut, "max_attr_chars", expected="an integer >= 3", got=max_attr_chars)
    outputs = [leaf for leaf in flatten(var)[0] if leaf is not None]
    for output in outputs:
        _check_tensor(output, "var")
    check(
        any(output.requires_grad for output in outputs),
        "var",
        expected="a tensor with a graph, or a tree with one",
        got=f"{len(outputs)} tensors without",
    )
    picture = _Picture(_names(params), show_attrs, show_saved, max_attr_chars)
    for output in outputs:
        picture.add_output(output)
    return resize_graph(picture.dot)


def resize_graph(
    dot: graphviz.Digraph, size_per_element: float = 0.5, min_size: float = 12.0
) -> graphviz.Digraph:
    """Give a picture a size that fits the number of its nodes and edges.

    Args:
        dot: the picture; its attribute ``size`` is set.
        size_per_element: inches for each node and edge.
        min_size: the least size in inches.

    Returns:
        ``dot`` itself.

    Example:
        >>> import torch, metaphys
        >>> dot = metaphys.visual.make_dot(torch.ones(1, requires_grad=True) * 2)
        >>> metaphys.visual.resize_graph(dot, min_size=20.0).graph_attr["size"]
        '20,20'
    """
    size = math.ceil(max(len(dot.body) * size_per_element, min_size))
    dot.graph_attr.update(size=f"{size},{size}")
    return dot


class _Names:
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


def _names(params: Names) -> _Names:
    names = _Names()
    for source in _sources(params):
        contents = (source.visual_contents or {}) if isinstance(source, ModuleState) else source
        for key, value in contents.items():
            if isinstance(value, torch.Tensor):  # {name: tensor}
                names.add(str(key), value)
            elif isinstance(value, tuple):  # {operation: (name, tensor)}
                names.results.setdefault(key, ([], value[1]))[0].append(value[0])
            else:  # {tensor: name}
                _check_tensor(key, "params")
                names.add(value, key)
    return names


def _sources(params: Names) -> list[Any]:
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


class _Picture:
    """A graph that is being drawn; every operation and tensor once."""

    def __init__(self, names: _Names, attributes: bool, saved: bool, most: int) -> None:
        self.dot = _digraph()
        self.names, self.attributes, self.saved, self.most = names, attributes, saved, most
        self.seen: dict[Any, str] = {}  # by operation, or by the id of a tensor
        self.kept: list[torch.Tensor] = []  # so that an id stays theirs

    def add_output(self, tensor: torch.Tensor) -> None:
        """Everything behind ``tensor``, and itself."""
        if tensor.grad_fn is None:
            self._tensor(tensor, OUTPUT)
            return
        self._operations(tensor.grad_fn)
        if tensor.grad_fn in self.names.results:  # it is drawn already
            self.dot.node(self._end(tensor.grad_fn), fillcolor=OUTPUT)
        else:
            self.dot.edge(self.seen[tensor.grad_fn], self._tensor(tensor, OUTPUT))

    def _operations(self, last: Any) -> None:
        """``last`` and every operation before it; not recursive, for graphs are deep."""
        todo, added = [last], []
        while todo:
            operation = todo.pop()
            if operation not in self.seen:
                self._operation(operation)
                added.append(operation)
                todo += [before for before, _ in operation.next_functions if before is not None]
        # Edges come last, when every operation has its number.
        for operation in added:
            for before, _ in operation.next_functions:
                if before is not None:
                    self.dot.edge(self._end(before), self.seen[operation])

    def _operation(self, operation: Any) -> None:
        variable = getattr(operation, "variable", None)
        if isinstance(variable, torch.Tensor):
            self.seen[operation] = self._tensor(variable, LEAF)
            return
        name = self.seen[operation] = f"n{len(self.seen)}"
        self.dot.node(name, self._label(operation), fillcolor=OPERATION)
        if self.saved:
            for attribute, value in _saved(operation):
                if isinstance(value, torch.Tensor):
                    # A node of its own: the same tensor may be a leaf or a named result too.
                    number = self.seen[operation, attribute] = f"n{len(self.seen)}"
                    label = " = ".join(filter(None, [attribute, self.names.of(value)]))
                    self.dot.node(number, f"{label}\n{tuple(value.shape)}", fillcolor=SAVED)
                    self.dot.edge(number, name, dir="none")
        if operation in self.names.results:
            names, tensor = self.names.results[operation]
            self.dot.edge(name, self._tensor(tensor, NAMED, ", ".join(names)))

    def _end(self, operation: Any) -> str:
        """Where what an operation gives comes from: its named result, if it has one."""
        if operation in self.names.results:
            return self.seen[id(self.names.results[operation][1])]
        return self.seen[operation]

    def _tensor(self, tensor: torch.Tensor, color: str, name: str | None = None) -> str:
        if id(tensor) not in self.seen:
            number = self.seen[id(tensor)] = f"n{len(self.seen)}"
            self.kept.append(tensor)
            label = self.names.of(tensor) if name is None else name
            shape = f"{tuple(tensor.shape)}"
            self.dot.node(number, f"{label}\n{shape}" if label else shape, fillcolor=color)
        return self.seen[id(tensor)]

    def _label(self, operation: Any) -> str:
        label = operation.name().removeprefix("torch::autograd::")
        if not self.attributes:
            return label
        lines = [
            f"{attribute}: {_shortened(value, self.most)}"
            for attribute, value in _saved(operation)
            if not isinstance(value, torch.Tensor)
        ]
        return "\n".join([label, *lines])


def _digraph() -> graphviz.Digraph:
    try:
        import graphviz
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "metaphys.visual needs the package graphviz: pip install 'metaphys[visual]'.",
            name="graphviz",
        ) from error
    style = {
        "style": "filled", "shape": "box", "align": "left", "fontsize": "10", "ranksep": "0.1",
        "height": "0.2", "fontname": "monospace",
    }  # fmt: skip
    return graphviz.Digraph(node_attr=style, graph_attr={"size": "12,12"})


def _saved(operation: Any) -> list[tuple[str, Any]]:
    """What an operation keeps, by name; what is freed already is left out."""
    found = []
    for attribute in dir(operation):
        if attribute.startswith("_saved_"):
            try:
                value = getattr(operation, attribute)
            except RuntimeError:
                continue
            found.append((attribute.removeprefix("_saved_"), value))
    return found


def _shortened(value: Any, most: int) -> str:
    text = str(value)
    return text if len(text) <= most else text[: most - 3] + "..."


def _check_tensor(value: Any, argument: str) -> None:
    check(
        isinstance(value, torch.Tensor),
        argument,
        expected="tensors",
        got=f"a {type(value).__name__}",
        error=TypeError,
    )
