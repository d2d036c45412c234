"""Trees of tensors: all of optree, and arithmetic on whole trees (TorchOpt's names).

Leaves are tensors, or whatever the operation takes; ``None`` is an empty tree, as in optree.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any

import optree
import torch
from optree import *  # noqa: F403  # pyright: ignore[reportWildcardImportFromLibrary]

from metaphys._errors import check
from metaphys._typing import Scalar, Tree

__all__ = [
    "tree_add",
    "tree_add_scalar_mul",
    "tree_flatten_as_tuple",
    "tree_matmul",
    "tree_mul",
    "tree_neg",
    "tree_pos",
    "tree_scalar_mul",
    "tree_sub",
    "tree_sub_scalar_mul",
    "tree_truediv",
    "tree_vdot_real",
    "tree_wait",
]
__all__ += optree.__all__


def tree_flatten_as_tuple(
    tree: Tree,
    is_leaf: Callable[[Any], bool] | None = None,
    *,
    none_is_leaf: bool = False,
    namespace: str = "",
) -> tuple[tuple[Any, ...], optree.PyTreeSpec]:
    """``optree.tree_flatten`` with the leaves as a tuple.

    Args:
        tree: any tree.
        is_leaf: says of a node whether it is a leaf.
        none_is_leaf: whether ``None`` is a leaf, or an empty tree.
        namespace: of the node types that optree knows.

    Example:
        >>> import metaphys
        >>> metaphys.pytree.tree_flatten_as_tuple({"b": 2, "a": [1, None]})[0]
        (1, 2)
    """
    leaves, spec = optree.tree_flatten(
        tree, is_leaf, none_is_leaf=none_is_leaf, namespace=namespace
    )
    return tuple(leaves), spec


def tree_pos(tree: Tree) -> Tree:
    """``+x`` of every leaf.

    Example:
        >>> import metaphys
        >>> metaphys.pytree.tree_pos([1.0, -2.0])
        [1.0, -2.0]
    """
    return optree.tree_map(operator.pos, tree)


def tree_neg(tree: Tree) -> Tree:
    """``-x`` of every leaf.

    Example:
        >>> import metaphys
        >>> metaphys.pytree.tree_neg([1.0, -2.0])
        [-1.0, 2.0]
    """
    return optree.tree_map(operator.neg, tree)


def tree_add(*trees: Tree) -> Tree:
    """The sum of one or more trees, leaf by leaf.

    Example:
        >>> import metaphys
        >>> metaphys.pytree.tree_add({"a": 1.0}, {"a": 2.0})
        {'a': 3.0}
    """
    return _reduced(operator.add, trees)


def tree_add_scalar_mul(tree_x: Tree, tree_y: Tree, alpha: Scalar | None = None) -> Tree:
    """``x + alpha · y``, leaf by leaf; without ``alpha``, ``x + y``.

    Example:
        >>> import metaphys
        >>> metaphys.pytree.tree_add_scalar_mul([1.0], [2.0], 0.5)
        [2.0]
    """
    if alpha is None:
        return tree_add(tree_x, tree_y)
    return optree.tree_map(lambda x, y: x + alpha * y, tree_x, tree_y)


def tree_sub(minuend_tree: Tree, subtrahend_tree: Tree) -> Tree:
    """The first tree minus the second, leaf by leaf.

    Example:
        >>> import metaphys
        >>> metaphys.pytree.tree_sub([1.0], [2.0])
        [-1.0]
    """
    return optree.tree_map(operator.sub, minuend_tree, subtrahend_tree)


def tree_sub_scalar_mul(tree_x: Tree, tree_y: Tree, alpha: Scalar | None = None) -> Tree:
    """``x - alpha · y``, leaf by leaf; without ``alpha``, ``x - y``.

    Example:
        >>> import metaphys
        >>> metaphys.pytree.tree_sub_scalar_mul([1.0], [2.0], 0.5)
        [0.0]
    """
    if alpha is None:
        return tree_sub(tree_x, tree_y)
    return optree.tree_map(lambda x, y: x - alpha * y, tree_x, tree_y)


def tree_mul(*trees: Tree) -> Tree:
    """The product of one or more trees, leaf by leaf and entry by entry.

    Example:
        >>> import metaphys
        >>> metaphys.pytree.tree_mul([3.0], [2.0])
        [6.0]
    """
    return _reduced(operator.mul, trees)


def tree_matmul(*trees: Tree) -> Tree:
    """The matrix product ``a @ b @ …`` of one or more trees, leaf by leaf.

    Example:
        >>> import torch, metaphys
        >>> metaphys.pytree.tree_matmul([torch.eye(2)], [torch.ones(2)])
        [tensor([1., 1.])]
    """
    return _reduced(operator.matmul, trees)


def tree_scalar_mul(scalar: Scalar, multiplicand_tree: Tree) -> Tree:
    """``scalar · x`` of every leaf.

    Example:
        >>> import metaphys
        >>> metaphys.pytree.tree_scalar_mul(2.0, [1.0, 3.0])
        [2.0, 6.0]
    """
    return optree.tree_map(lambda leaf: scalar * leaf, multiplicand_tree)


def tree_truediv(dividend_tree: Tree, divisor_tree: Tree) -> Tree:
    """The first tree over the second, leaf by leaf and entry by entry.

    Example:
        >>> import metaphys
        >>> metaphys.pytree.tree_truediv([3.0], [2.0])
        [1.5]
    """
    return optree.tree_map(operator.truediv, dividend_tree, divisor_tree)


def tree_vdot_real(tree_x: Tree, tree_y: Tree) -> torch.Tensor:
    """The real part of the inner product of two trees of tensors, ``Re Σ conj(x) · y``.

    Returns:
        A 0-d tensor, differentiable. (TorchOpt's is a number, and waits for the device.)

    Raises:
        ValueError: if the trees have no leaf, or differ in structure or shapes.

    Example:
        >>> import torch, metaphys
        >>> metaphys.pytree.tree_vdot_real([torch.tensor([1j])], [torch.tensor([2j])])
        tensor(2.)
    """
    xs, spec = optree.tree_flatten(tree_x)
    ys = spec.flatten_up_to(tree_y)
    check(bool(xs), "tree_x", expected="a tree with a tensor", got=tree_x)
    for one, other in zip(xs, ys):
        check(
            one.shape == other.shape,
            "tree_y",
            expected=f"of the shapes of `tree_x`, such as {tuple(one.shape)}",
            got=tuple(other.shape),
        )
    terms = [(one.conj() * other).sum() for one, other in zip(xs, ys)]
    return torch.stack([term.real if term.is_complex() else term for term in terms]).sum()


def tree_wait(future_tree: Tree) -> Tree:
    """The values of a tree of ``torch.futures.Future``, once all of them are there.

    Example:
        >>> import torch, metaphys
        >>> future = torch.futures.Future()
        >>> future.set_result(1.0)
        >>> metaphys.pytree.tree_wait({"a": future})
        {'a': 1.0}
    """
    futures, spec = optree.tree_flatten(future_tree)
    return optree.tree_unflatten(spec, torch.futures.wait_all(futures))


def _reduced(operation: Callable[[Any, Any], Any], trees: tuple[Tree, ...]) -> Tree:
    check(bool(trees), "trees", expected="at least one", got="none")
    return optree.tree_map(lambda *leaves: functools.reduce(operation, leaves), *trees)
