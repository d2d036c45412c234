"""Muon on matrices: torch.optim to bfloat16's accuracy, meta-gradients, matrices of zeros."""

# pyright: reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false

from __future__ import annotations

import pytest
import torch

import metaphys
from tests.tables import assert_near, slope

SHAPES = [(4, 3), (3, 5), (2, 2), (1, 3)]


@pytest.mark.parametrize("how", [None, "original", "match_rms_adamw"])
@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_step_is_torchs_to_bfloat16(how, nesterov, shape):
    arguments = {"lr": 0.1, "weight_decay": 0.3, "nesterov": nesterov, "adjust_lr_fn": how}
    ours, theirs = (torch.nn.Parameter(torch.ones(shape)) for _ in range(2))
    optimizers = metaphys.Muon([ours], **arguments), torch.optim.Muon([theirs], **arguments)
    for _ in range(5):
        ours.grad = theirs.grad = torch.randn(shape)
        for optimizer in optimizers:
            optimizer.step()
    # torch iterates in bfloat16: some per cent of a step of 0.1, five times.
    torch.testing.assert_close(ours.detach(), theirs.detach(), rtol=0.0, atol=2e-2)


def test_singular_values_are_pushed_towards_one():
    rule = metaphys.muon(1.0, ns_steps=8, adjust_lr_fn="match_rms_adamw")
    params = [torch.zeros(4, 6)]
    updates, _ = rule.update([torch.randn(4, 6)], rule.init(params), params)
    values = torch.linalg.svdvals(updates[0]) / (0.2 * 6**0.5)
    assert 0.6 < values.min() and values.max() < 1.3


@pytest.mark.parametrize("shape", [(3, 2), (2, 3)], ids=str)
def test_meta_gradient_of_eight_steps_against_central_differences(shape):
    rule = metaphys.muon(0.05, weight_decay=0.1)
    x, y = torch.randn(4, shape[1]), torch.randn(4, shape[0])

    def after(z):
        params = [z.reshape(shape) if z.requires_grad else z.reshape(shape).requires_grad_()]
        state = rule.init(params)
        for _ in range(8):
            with torch.enable_grad():
                given = [p if p.requires_grad else p.requires_grad_() for p in params]
                loss = ((x @ given[0].T).sin() - y * z.sum().cos()).pow(2).mean()
                grads = torch.autograd.grad(loss, given, create_graph=True)
            updates, state = rule.update(list(grads), state, given)
            params = metaphys.apply_updates(given, updates, inplace=False)
        return params[0].pow(3).sum()

    z = torch.randn(6, requires_grad=True)
    found = torch.autograd.grad(after(z), z)[0]
    for direction in torch.eye(6):
        expected = slope(after, z.detach(), direction, h=1e-4)
        assert float(found @ direction) == pytest.approx(expected, rel=1e-7, abs=1e-8)


@pytest.mark.parametrize("nesterov", [True, False])
def test_a_matrix_of_zeros_has_the_documented_derivative(nesterov):
    rule = metaphys.muon(1.0, eps=1e-2, momentum=0.9, nesterov=nesterov, ns_steps=2)
    g, params = torch.zeros(2, 2, requires_grad=True), [torch.zeros(2, 2)]
    updates, _ = rule.update([g], rule.init(params), params)
    (found,) = torch.autograd.grad(updates[0].sum(), g, create_graph=True)
    kept = 1 - 0.9**2 if nesterov else 1 - 0.9
    assert_near(found.detach(), torch.full((2, 2), -(3.4445**2) * kept / 1e-2))
    assert torch.isfinite(torch.autograd.grad(found.sin().sum(), g)[0]).all()


def test_a_tree_of_rates_separates_matrices_from_the_rest():
    rule = metaphys.muon({"w": 0.5, "b": 0.25}, weight_decay=0.0)
    params = {"w": torch.zeros(2, 2), "b": torch.zeros(2)}
    grads = {"w": torch.eye(2), "b": torch.ones(2)}
    state = rule.init(params)
    assert sorted(each.ndim for each in state.nu) == [0, 1]
    updates, _ = rule.update(grads, state, params)
    assert_near(updates["b"], torch.full((2,), -0.25), torch.float32)
    assert -0.65 < float(updates["w"][0, 0]) < -0.3
