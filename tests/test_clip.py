"""Clipping: its values beside torch's, its derivatives beside two truths, and at zero."""

# pyright: reportArgumentType=false, reportCallIssue=false

from __future__ import annotations

import pytest
import torch
from torch.nn.utils import clip_grad_norm_

import metaphys
from metaphys import clip


def _once(rule, grads, params=None):
    return rule.update(list(grads), rule.init(list(grads)), params)[0]


ORDERS = [1, 1.5, 2.0, 3.0, float("inf")]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("bound", [0.3, 100.0])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_the_norm_is_torchs(order, bound, dtype):
    grads = [torch.randn(shape).to(dtype) for shape in [(3,), (2, 2), (), (0, 3)]]
    params = [torch.nn.Parameter(torch.zeros_like(g)) for g in grads]
    for param, grad in zip(params, grads):
        param.grad = grad.clone()
    clip_grad_norm_([p for p in params if p.numel()], bound, order)
    found = _once(metaphys.clip_grad_norm(bound, order), grads)
    torch.testing.assert_close(found, [p.grad for p in params])


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("bound", [0.3, 100.0])
def test_the_coefficient_is_differentiated(order, bound):
    def function(a, b, bound):
        return tuple(_once(metaphys.clip_grad_norm(bound, order), (a, b)))

    inputs = (torch.randn(3), torch.randn(2, 2), torch.tensor(bound))
    inputs = tuple(x.requires_grad_() for x in inputs)
    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


def test_a_clipped_gradient_has_no_derivative_along_itself():
    grad = torch.tensor([3.0, 4.0], requires_grad=True)
    jacobian = torch.func.jacrev(lambda g: _once(metaphys.clip_grad_norm(1.0), [g])[0])(grad)
    # c (1 - ĝĝᵀ) with c = 1/5, up to the 1e-6 beside the norm
    expected = torch.tensor([[0.128, -0.096], [-0.096, 0.072]])
    torch.testing.assert_close(jacobian, expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("order", ORDERS)
def test_at_zero_the_derivative_is_the_identity(order):
    def function(g):
        return _once(metaphys.clip_grad_norm(1.0, order), [g])[0]

    zero = torch.zeros(3)
    assert torch.equal(torch.func.jacrev(function)(zero), torch.eye(3))
    second = torch.func.jacrev(torch.func.jacrev(function))(zero)
    assert torch.equal(second, torch.zeros(3, 3, 3))


@pytest.mark.parametrize("order", ORDERS)
def test_a_single_zero_leaves_everything_finite(order):
    grad = torch.tensor([0.0, 2.0, -1.0], requires_grad=True)
    update = _once(metaphys.clip_grad_norm(0.5, order), [grad])[0]
    first = torch.autograd.grad(update.pow(2).sum() + update.sum(), grad, create_graph=True)[0]
    second = torch.autograd.grad(first.pow(2).sum(), grad)[0]
    assert first.isfinite().all() and second.isfinite().all() and bool(first.any())


def test_a_norm_that_is_not_finite_is_an_error_where_asked():
    grads = [torch.tensor([float("inf"), 1.0])]
    assert _once(metaphys.clip_grad_norm(1.0), grads)[0][1] == 0.0
    with pytest.raises(RuntimeError, match="`grads` must have a finite norm of order 2"):
        _once(metaphys.clip_grad_norm(1.0, error_if_nonfinite=True), grads)


@pytest.mark.parametrize("order", ORDERS)
def test_a_norm_that_is_not_a_number_is_not_zero(order):
    grads = [torch.tensor([float("nan"), 0.0]), torch.ones(2)]
    found = _once(metaphys.clip_grad_norm(1.0, order), grads)
    given = [g.clone().requires_grad_() for g in grads]
    for each, grad in zip(given, grads):
        each.grad = grad.clone()
    torch.nn.utils.clip_grad_norm_(given, 1.0, order)
    torch.testing.assert_close(found, [g.grad for g in given], equal_nan=True)
    with pytest.raises(RuntimeError, match="`grads` must have a finite norm"):
        _once(metaphys.clip_grad_norm(1.0, order, error_if_nonfinite=True), grads)


def test_dtypes_stay_and_half_precision_does_not_overflow():
    grads = [torch.full((4,), 300.0).half(), torch.ones(2).bfloat16(), torch.ones(2)]
    found = _once(metaphys.clip_grad_norm(1.0), grads)
    assert [g.dtype for g in found] == [g.dtype for g in grads]
    torch.testing.assert_close(found[0].double(), torch.full((4,), 0.5), rtol=1e-3, atol=0)


def test_values_are_clipped_and_differentiated():
    grad = torch.tensor([-3.0, -0.2, 0.4, 5.0], requires_grad=True)
    for bound in (0.5, torch.tensor(0.5, requires_grad=True)):
        update = _once(clip.clip_grad_value(bound), [grad])[0]
        torch.testing.assert_close(update.detach(), torch.tensor([-0.5, -0.2, 0.4, 0.5]))
        jacobian = torch.autograd.grad(update.sum(), grad, retain_graph=True)[0]
        assert jacobian.tolist() == [0.0, 1.0, 1.0, 0.0]
    weights = torch.tensor([2.0, 3.0, 5.0, 7.0])
    assert torch.autograd.grad((weights * update).sum(), bound)[0] == 7.0 - 2.0


def _agc(grad, param, ratio, eps):
    """Equation 3 of arXiv 2102.06171, unit by unit."""
    if grad.ndim < 2:
        most = ratio * max(float(param.norm()), eps)
        return grad * min(1.0, most / float(grad.norm()))
    return torch.stack([_agc(g.flatten(), p.flatten(), ratio, eps).reshape(g.shape)
                        for g, p in zip(grad, param)])  # fmt: skip


@pytest.mark.parametrize("shape", [(), (4,), (3, 2), (2, 3, 2, 2)])
def test_adaptive_clipping_is_the_papers(shape):
    rule = clip.adaptive_grad_clip(0.4, 0.5)
    for scale in (0.01, 1.0):
        grads, params = [torch.randn(shape)], [scale * torch.randn(shape)]
        found = _once(rule, grads, params)
        torch.testing.assert_close(found, [_agc(grads[0], params[0], 0.4, 0.5)])


def test_adaptive_clipping_is_differentiated():
    def function(grad, param, ratio, eps):
        return _once(clip.adaptive_grad_clip(ratio, eps), [grad], [param])[0]

    inputs = (torch.randn(4, 3), torch.randn(4, 3), torch.tensor(0.3), torch.tensor(0.5))
    inputs = tuple(x.requires_grad_() for x in inputs)
    inputs[1].data[0] *= 0.01  # a unit below eps
    inputs[0].data[1] *= 0.01  # one that is not clipped
    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)
    zero = torch.zeros(2, 2)
    jacobian = torch.func.jacrev(lambda g: function(g, zero, 0.3, 0.5))(zero)
    torch.testing.assert_close(jacobian.reshape(4, 4), torch.eye(4))


WRONG = {
    "max_norm": lambda: metaphys.clip_grad_norm(-1.0),
    "norm_type": lambda: metaphys.clip_grad_norm(1.0, 0.5),
    "error_if_nonfinite": lambda: metaphys.clip_grad_norm(1.0, 2.0, 1),
    "clip_value": lambda: clip.clip_grad_value(-1.0),
    "clipping": lambda: clip.adaptive_grad_clip(float("nan")),
    "params": lambda: _once(clip.adaptive_grad_clip(), [torch.ones(1)]),
}


@pytest.mark.parametrize("argument", WRONG)
def test_wrong_arguments_are_named(argument):
    with pytest.raises((ValueError, TypeError), match=f"`{argument}` must be"):
        WRONG[argument]()
