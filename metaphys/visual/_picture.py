"""Drawing an autograd graph in the language of Graphviz."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from metaphys.visual._names import Names

if TYPE_CHECKING:
    import graphviz

LEAF, NAMED, OUTPUT, SAVED, OPERATION = (
    "lightblue", "khaki1", "darkolivegreen1", "orange", "lightgrey",
)  # fmt: skip


class Picture:
    """A graph that is being drawn; every operation and tensor once."""

    def __init__(self, names: Names, attributes: bool, saved: bool, most: int) -> None:
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
