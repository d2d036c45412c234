"""Hooks: they change the meta-gradient, and nothing else."""

# pyright: reportArgumentType=false

from __future__ import annotations

import pytest
import torch

import metaphys
from metaphys import chain, hook


def _step(rule, grads):
    return rule.update(grads, rule.init(grads))[0]


def test_a_hook_is_called_with_the_cotangent():
    seen = []
    rule = chain(metaphys.register_hook(seen.append), metaphys.sgd(lr=0.5))
    grad = torch.tensor([1.0, 2.0], requires_grad=True)
    update = _step(rule, [grad])[0]
    torch.testing.assert_close(update.detach(), torch.tensor([-0.5, -1.0]))
    assert not seen
    found = torch.autograd.grad(update.sum(), grad)[0]
    assert [g.tolist() for g in seen] == [[-0.5, -0.5]] and found.tolist() == [-0.5, -0.5]


def test_nan_in_a_meta_gradient_becomes_zero():
    # √ of the plain kind has the derivative ∞ at 0, which 0 makes NaN.
    grad = torch.tensor([0.0, 4.0], requires_grad=True)
    rule = metaphys.register_hook(hook.zero_nan_hook)
    update = _step(rule, [grad])[0]
    broken = (update.sqrt() * torch.tensor([0.0, 1.0])).sum()
    assert torch.autograd.grad(broken, grad)[0].tolist() == [0.0, 0.25]


def test_again_and_again_it_is_a_tensors_own_hook():
    def square(g):
        return g**2

    def by_rule(x):
        return _step(metaphys.register_hook(square), [x])[0]

    def by_tensor(x):
        y = x * 1.0
        y.register_hook(square)
        return y

    x, found = torch.tensor([2.0], requires_grad=True), []
    for function in (by_rule, by_tensor):
        first = torch.autograd.grad(function(x).pow(3).sum(), x, create_graph=True)[0]
        # (3x²)²; its derivative 36x³ passes the hook once more on its way back.
        found.append((first.item(), torch.autograd.grad(first, x)[0].item()))
    assert found == [(144.0, 288.0**2)] * 2


def test_under_func_and_in_forward_mode():
    rule = metaphys.register_hook(lambda g: 3 * g)
    x = torch.randn(4, 2)

    def loss(x):
        return _step(rule, [x])[0].pow(2).sum()

    torch.testing.assert_close(torch.func.grad(loss)(x), 6 * x)
    torch.testing.assert_close(torch.func.vmap(torch.func.grad(loss))(x), 6 * x)
    slope = torch.func.jvp(loss, (x,), (torch.ones_like(x),))[1]
    torch.testing.assert_close(slope, 2 * x.sum())  # tangents have no hooks


def test_the_tensors_of_the_caller_are_not_touched():
    grad = torch.ones(2, requires_grad=True)
    _step(metaphys.register_hook(lambda g: 0 * g), [grad])
    assert torch.autograd.grad((2 * grad).sum(), grad)[0].tolist() == [2.0, 2.0]


def test_hooks_on_tensors():
    bad = torch.tensor([float("nan"), float("inf"), -float("inf"), 1.0])
    assert hook.zero_nan_hook(bad).tolist() == [0.0, float("inf"), -float("inf"), 1.0]
    assert hook.nan_to_num_hook(2.0, 3.0, 4.0)(bad).tolist() == [2.0, 3.0, 4.0, 1.0]
    assert torch.equal(hook.nan_to_num_hook()(bad), torch.nan_to_num(bad))
    x = torch.tensor(2.0, requires_grad=True)
    y = x * 1.0
    y.register_hook(hook.zero_nan_hook)
    (y * float("nan")).backward()
    assert x.grad == 0.0


def test_what_is_no_function_is_refused():
    with pytest.raises(TypeError, match="`hook` must be a function"):
        metaphys.register_hook(1.0)


@pytest.mark.parametrize("argument", ["nan", "posinf", "neginf"])
@pytest.mark.parametrize(
    "wrong", ["0", [0.0], torch.ones(2), 1j, 10**400, True], ids=lambda x: type(x).__name__
)
def test_what_is_no_replacement_is_refused(argument, wrong):
    for make in (hook.nan_to_num_hook, metaphys.nan_to_num):
        with pytest.raises(TypeError, match=f"^`{argument}` must be a number or None"):
            make(**{argument: wrong})
