"""The autograd graph behind a tensor as a picture, and the size of one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from metaphys._errors import check
from metaphys._tree import flatten
from metaphys._typing import Tree
from metaphys.visual._names import Given, check_tensor, names_of
from metaphys.visual._picture import Picture

if TYPE_CHECKING:
    import graphviz


def make_dot(
    var: Tree,
    params: Given = None,
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
        check_tensor(output, "var")
    check(
        any(output.requires_grad for output in outputs),
        "var",
        expected="a tensor with a graph, or a tree with one",
        got=f"{len(outputs)} tensors without",
    )
    picture = Picture(names_of(params), show_attrs, show_saved, max_attr_chars)
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
