"""The results of a kernel: dense, of their own memory, and free to be changed in place."""

# pyright: reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false
# pyright: reportOptionalSubscript=false, reportUnusedExpression=false

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metaphys import ops
from metaphys.ops.adam import adam_reference
from tests.tables import ADAM, DTYPES, assert_near, flat


def _step(sizes: list[tuple[int, ...]], dtypes: list[torch.dtype]):
    kept = [torch.float64 if d is torch.float64 else torch.float32 for d in dtypes]
    grads = [torch.randn(size).to(d) for size, d in zip(sizes, dtypes)]
    mu = [torch.randn(size).to(d) for size, d in zip(sizes, kept)]
    nu = [torch.rand(size).to(d) + 0.1 for size, d in zip(sizes, kept)]
    return grads, mu, nu, torch.arange(1, len(sizes) + 1)


shapes = st.lists(st.integers(0, 40), max_size=3).map(tuple)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(shapes, st.sampled_from(DTYPES)), max_size=40))
def test_lists_of_any_shapes_and_dtypes_get_results_of_their_own(leaves):
    arguments = _step([size for size, _ in leaves], [dtype for _, dtype in leaves])
    found = ops.adam(*arguments, **ADAM)
    expected = adam_reference(*arguments, **ADAM)
    spans = set()
    for mine, theirs in zip(found, expected):
        for a, b, (_, dtype) in zip(mine, theirs, leaves):
            assert a.dtype is b.dtype and a.shape == b.shape and a.is_contiguous()
            assert_near([a], [b], dtype)
            spans |= {(a.data_ptr(), a.data_ptr() + a.nbytes)} if a.numel() else set()
    ordered = sorted(spans)
    assert len(ordered) == sum(t.numel() > 0 for each in expected for t in each)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(ordered))


@pytest.fixture
def results():
    grads, mu, nu, count = _step([(3, 5), (7,), ()], [torch.float64] * 3)
    for tensor in (*grads, *mu, *nu):
        tensor.requires_grad_()
    return ops.adam(grads, mu, nu, count, **ADAM), (*grads, *mu, *nu)


def test_each_may_be_changed_in_place_and_leaves_the_others(results):
    (updates, mu, _), _ = results
    before = [u.detach().clone() for u in updates]
    updates[0].mul_(2)
    mu[1].data.zero_()
    assert_near([u.detach() for u in updates], [2 * before[0], *before[1:]])


def test_a_change_of_what_the_backward_needs_is_noticed(results):
    (updates, mu, _), inputs = results
    with torch.no_grad():
        mu[1].zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.grad(updates[0].sum(), inputs, allow_unused=True)


def test_each_may_be_detached_in_place(results):
    (_, mu, nu), _ = results
    for moment in (*mu, *nu):
        moment.detach_()
        assert moment.is_leaf and not moment._is_view()


def test_results_that_are_large_enough_for_huge_pages():
    sizes = [(1 << 19,), (1 << 10, (1 << 9) + 1), (3,)]
    arguments = _step(sizes, [torch.float32] * 3)
    assert_near(
        flat(ops.adam(*arguments, **ADAM)), flat(adam_reference(*arguments, **ADAM)), torch.float32
    )
