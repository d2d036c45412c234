"""Trees: optree's names, and arithmetic whose values and derivatives are those of the leaves."""

# pyright: reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false

from __future__ import annotations

import operator

import optree
import pytest
import torch

from metaphys import pytree


def _tree():
    return {"a": [torch.randn(2, 2), None], "b": (torch.randn(3, 3), torch.randn(4, 4))}


BINARY = {
    "tree_add": (operator.add, ()),
    "tree_sub": (operator.sub, ()),
    "tree_mul": (operator.mul, ()),
    "tree_matmul": (operator.matmul, ()),
    "tree_truediv": (operator.truediv, ()),
    "tree_add_scalar_mul": (lambda x, y: x + 0.3 * y, (0.3,)),
    "tree_sub_scalar_mul": (lambda x, y: x - 0.3 * y, (0.3,)),
}


@pytest.mark.parametrize("name", BINARY)
def test_operations_on_two_trees(name):
    one, other = _tree(), _tree()
    operation, arguments = BINARY[name]
    found = getattr(pytree, name)(one, other, *arguments)
    assert optree.tree_structure(found) == optree.tree_structure(one)
    expected = map(operation, optree.tree_leaves(one), optree.tree_leaves(other))
    torch.testing.assert_close(optree.tree_leaves(found), list(expected))


@pytest.mark.parametrize("name", ["tree_add", "tree_mul", "tree_matmul"])
def test_operations_on_any_number_of_trees(name):
    operation, _ = BINARY[name]
    trees = [_tree(), _tree(), _tree()]
    one, two, three = map(optree.tree_leaves, trees)
    found = getattr(pytree, name)(*trees)
    expected = [operation(operation(x, y), z) for x, y, z in zip(one, two, three)]
    torch.testing.assert_close(optree.tree_leaves(found), expected)
    torch.testing.assert_close(optree.tree_leaves(getattr(pytree, name)(trees[0])), one)
    with pytest.raises(ValueError, match=r"^`trees` must be at least one"):
        getattr(pytree, name)()


def test_without_a_scalar_they_are_plain():
    one, other = _tree(), _tree()
    plain = pytree.tree_add(one, other), pytree.tree_sub(one, other)
    torch.testing.assert_close(pytree.tree_add_scalar_mul(one, other), plain[0])
    torch.testing.assert_close(pytree.tree_sub_scalar_mul(one, other), plain[1])


def test_operations_on_one_tree():
    tree, scale = _tree(), torch.tensor(0.5)
    for found, factor in (
        (pytree.tree_pos(tree), 1.0),
        (pytree.tree_neg(tree), -1.0),
        (pytree.tree_scalar_mul(scale, tree), 0.5),
    ):
        expected = [factor * leaf for leaf in optree.tree_leaves(tree)]
        torch.testing.assert_close(optree.tree_leaves(found), expected)
        assert found["a"][1] is None


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
def test_the_inner_product_and_its_derivatives(dtype):
    x, y = torch.randn(2, 3, dtype=dtype), torch.randn(4, dtype=dtype)
    u, v = torch.randn(2, 3, dtype=dtype), torch.randn(4, dtype=dtype)
    found = pytree.tree_vdot_real([x, {"y": y}], [u, {"y": v}])
    expected = torch.vdot(x.flatten(), u.flatten()) + torch.vdot(y, v)
    torch.testing.assert_close(found, expected.real if dtype.is_complex else expected)
    inputs = tuple(t.requires_grad_() for t in (x, y, u, v))

    def function(x, y, u, v):
        return pytree.tree_vdot_real([x, y], [u, v])

    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


def test_an_inner_product_of_other_shapes_is_refused():
    with pytest.raises(ValueError, match=r"^`tree_y` must"):
        pytree.tree_vdot_real([torch.ones(2)], [torch.ones(2, 2)])
    with pytest.raises(ValueError, match=r"^`tree_x` must"):
        pytree.tree_vdot_real([], [])
    with pytest.raises(ValueError):
        pytree.tree_vdot_real([torch.ones(2)], {"a": torch.ones(2)})


def test_leaves_as_a_tuple():
    tree = _tree()
    leaves, spec = pytree.tree_flatten_as_tuple(tree)
    assert isinstance(leaves, tuple) and len(leaves) == 3
    assert spec == pytree.tree_structure(tree)
    assert len(pytree.tree_flatten_as_tuple(tree, none_is_leaf=True)[0]) == 4
    assert pytree.tree_flatten_as_tuple(tree, lambda x: isinstance(x, list))[0][0] is tree["a"]


def test_waiting_for_futures():
    tree = {"a": torch.futures.Future(), "b": [torch.futures.Future()]}
    then = pytree.tree_map(lambda future: future.then(lambda f: f.wait() + 1), tree)
    for future, value in ((tree["b"][0], 2), (tree["a"], 1)):
        future.set_result(value)
    assert pytree.tree_wait(then) == {"a": 2, "b": [3]}


def test_all_of_optree_is_here():
    assert len(optree.__all__) > 50
    assert all(getattr(pytree, name) is getattr(optree, name) for name in optree.__all__)
    assert len(pytree.__all__) == len(set(pytree.__all__))
