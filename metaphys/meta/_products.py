"""Small products of matrices as sums, which Inductor writes into one loop with what is around them.

Up to some thousand multiplications the call of a library costs more than the product: it is
dispatched, copies what is added, and nothing is fused across it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

SMALL = 2**15
"""Multiplications up to which a product is written out; of 2**19 a library takes a third."""


def write_out(graph: fx.GraphModule) -> None:
    """Replace small ``aten.mm`` and ``aten.addmm`` by Σ_k a_ik b_kj; called under fake tensors."""
    aten = torch.ops.aten
    for node in graph.graph.find_nodes(op="call_function", target=aten.mm.default):
        _replace(node, *node.args)
    for node in graph.graph.find_nodes(op="call_function", target=aten.addmm.default):
        if not node.kwargs:  # factors of the terms
            added, left, right = node.args
            _replace(node, left, right, added)
    graph.recompile()


def _replace(node: fx.Node, left: Any, right: Any, added: Any = None) -> None:
    a, b = left.meta["val"], right.meta["val"]
    if a.shape[0] * b.numel() > SMALL:
        return
    aten = torch.ops.aten
    with node.graph.inserting_before(node):
        # In memory, or they would be computed anew for each product that they are in; the columns
        # of the right one in a row, because the loop over them is the one with vectors.
        rows, columns = _written(left, a.stride()), _written(right, (b.shape[1], 1))
        pair = _call(aten.unsqueeze.default, rows, 2), _call(aten.unsqueeze.default, columns, 0)
        total = _call(aten.sum.dim_IntList, _call(aten.mul.Tensor, *pair), [1])
        if added is not None:
            total = _call(aten.add.Tensor, total, added)
    node.replace_all_uses_with(total)
    node.graph.erase_node(node)


def _written(node: fx.Node, strides: tuple[int, ...]) -> fx.Node:
    from torch._inductor import inductor_prims  # private: imported where it is used

    return _call(inductor_prims.force_stride_order, node, strides)


def _call(target: Any, *arguments: Any) -> fx.Node:
    made = arguments[0].graph.call_function(target, arguments)
    known = [each.meta["val"] if isinstance(each, fx.Node) else each for each in arguments]
    made.meta["val"] = target(*known)
    return made
