"""The inner gradient: by autograd alone it is that of torch.func, graph and all."""

from __future__ import annotations

import pytest
import torch
from torch.utils.checkpoint import checkpoint

import metaphys
from metaphys.meta._gradient import gradient_of
from tests.tables import assert_near, slope

W = torch.tensor([0.4, -0.9, 1.3], dtype=torch.float64)


def near_the_start(params, start):
    """A loss in which the start is a parameter and data at once."""
    return (params.sin() * start.exp()).sum() + (params - start).pow(2).sum() + params.pow(4).sum()


def after(w: torch.Tensor, **how) -> torch.Tensor:
    end = metaphys.unroll(near_the_start, metaphys.adam(0.1), w, steps=3, meta=w, **how)
    return end.params.cos().sum() + end.losses.sum()


@pytest.mark.parametrize("adjoint", [metaphys.adjoint.Full(), metaphys.adjoint.Checkpoint(2)])
def test_a_tensor_that_comes_in_twice_is_held_fixed_where_it_is_data(adjoint):
    w = W.clone().requires_grad_()
    found = torch.autograd.grad(after(w, adjoint=adjoint), w)[0]
    assert_near(found, torch.func.grad(after)(W))
    for direction in torch.eye(3):
        assert float(found @ direction) == pytest.approx(slope(after, W, direction), rel=1e-7)


@pytest.mark.parametrize("start", ["tracked", "constant"])
@pytest.mark.parametrize("enabled", [True, False])
def test_it_is_torch_funcs(start, enabled):
    meta = torch.rand(3, requires_grad=True)
    params = (W.clone().requires_grad_(start == "tracked"), torch.ones(2))

    def loss(params, meta):
        return (params[0] ** 3 * meta[0]).sum(), (params[0].detach(),)

    with torch.set_grad_enabled(enabled):
        grads, value, more = gradient_of(loss, (*params, meta))(params, (meta,))
        expected, (known, _) = torch.func.grad_and_value(loss, has_aux=True)(params, (meta,))
    assert_near(grads, expected)
    assert_near(value, known)
    assert torch.equal(grads[1], torch.zeros(2))
    assert value.requires_grad is grads[0].requires_grad is enabled
    assert not more[0].requires_grad
    if enabled:
        inputs = [meta, params[0]] if start == "tracked" else [meta]
        found, wanted = (torch.autograd.grad(g[0].sin().sum(), inputs) for g in (grads, expected))
        assert_near(found, wanted)


def test_a_constant_start_gives_no_graph():
    end = metaphys.unroll(near_the_start, metaphys.sgd(0.1), W, steps=2, meta=torch.ones(3))
    assert not end.params.requires_grad and not end.losses.requires_grad


def test_a_loss_that_does_not_depend_on_the_parameters_moves_nothing():
    w, x = W.clone().requires_grad_(), torch.tensor(2.0, requires_grad=True)
    end = metaphys.unroll(lambda _, meta: meta**2, metaphys.sgd(0.1), w, steps=2, meta=x)
    assert torch.equal(end.params, w)
    assert torch.autograd.grad(end.losses.sum(), x)[0] == 8.0


def test_a_checkpoint_inside_the_loss():
    def saved(params, start):
        return checkpoint(near_the_start, params, start, use_reentrant=False)

    w = W.clone().requires_grad_()
    ends = [
        metaphys.unroll(loss, metaphys.sgd(0.01), w, steps=3, meta=w).params
        for loss in (near_the_start, saved)
    ]
    found, expected = (torch.autograd.grad(end.sum(), w)[0] for end in ends)
    assert_near(found, expected)
