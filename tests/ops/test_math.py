"""Roots and reciprocals whose derivatives at zero are zero; bias corrections in float64."""

# pyright: reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false
# pyright: reportOptionalSubscript=false, reportUnusedExpression=false

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from metaphys.ops._math import (
    bias_corrections,
    cast,
    masked_reciprocal,
    masked_sqrt,
    state_dtype,
)

MASKED = {"sqrt": (masked_sqrt, torch.sqrt), "reciprocal": (masked_reciprocal, torch.reciprocal)}


@pytest.mark.parametrize("name", MASKED)
def test_away_from_zero_it_is_the_plain_function(name):
    masked, plain = MASKED[name]
    x = torch.rand(5).add(0.1).requires_grad_()
    torch.testing.assert_close(masked(x), plain(x))
    assert gradcheck(masked, x) and gradgradcheck(masked, x)


@pytest.mark.parametrize("name", MASKED)
def test_at_zero_everything_is_zero(name):
    masked, _ = MASKED[name]
    x = torch.zeros(2, requires_grad=True)
    value = masked(x)
    for _ in range(3):
        assert torch.equal(value, torch.zeros(2))
        value = torch.autograd.grad(value.sum(), x, create_graph=True)[0]


@pytest.mark.parametrize("name", MASKED)
def test_what_is_not_a_number_stays_none(name):
    masked, plain = MASKED[name]
    x = torch.tensor([float("nan"), 4.0, 0.0, float("inf")], requires_grad=True)
    found = masked(x)
    assert found.isnan().tolist() == [True, False, False, False]
    assert found[3] == plain(torch.tensor(float("inf")))
    (slope,) = torch.autograd.grad(found[1:].sum(), x)
    assert slope[1:].isfinite().all()


def test_bias_corrections_are_float64_and_differentiable():
    count = torch.tensor([1, 10])
    found = bias_corrections(0.999, count)
    assert [float(c) for c in found] == pytest.approx([1 - 0.999, 1 - 0.999**10], rel=1e-12)
    beta = torch.tensor(0.9, requires_grad=True)
    (slope,) = torch.autograd.grad(bias_corrections(beta, count)[1], beta)
    assert float(slope) == pytest.approx(-10 * 0.9**9)


def test_a_beta_of_zero():
    beta = torch.tensor(0.0, requires_grad=True)
    first, later = bias_corrections(beta, torch.tensor([1, 3]))
    assert first.item() == later.item() == 1.0
    assert float(torch.autograd.grad(first, beta)[0]) == -1.0


def test_dtypes():
    assert state_dtype(torch.bfloat16) is state_dtype(torch.float16) is torch.float32
    assert state_dtype(torch.float64) is torch.float64
    assert cast(0.5, torch.float32) == 0.5
    assert cast(torch.tensor(0.5), torch.float32).dtype is torch.float32
