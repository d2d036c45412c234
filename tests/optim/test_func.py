"""The functional form that keeps its state: values, derivatives, in place, what is refused."""

# pyright: reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false
# pyright: reportOptionalSubscript=false

from __future__ import annotations

import io

import pytest
import torch

import metaphys
from metaphys.optim import UninitializedState
from tests.tables import RULES, functional, slope, tolerance

rules = pytest.mark.parametrize("name", RULES)


def _params(learn=True):
    torch.manual_seed(0)
    params = {"a": [torch.randn(3), None], "b": (torch.randn(2, 2), torch.randn(()))}
    return metaphys.pytree.tree_map(lambda t: t.requires_grad_(learn), params)


def _loss(params):
    a, (b, c) = params["a"][0], params["b"]
    return a.pow(3).sum() + (b.sin() * c).sum() * a.sum()


def _leaves(params):
    return [params["a"][0], *params["b"]]


@pytest.mark.parametrize("inplace", [False, True])
@rules
def test_it_is_the_rule_with_the_loss_differentiated(name, inplace):
    optimizer = metaphys.FuncOptimizer(RULES[name](), inplace=inplace)
    params = _params()
    for _ in range(4):
        params = optimizer.step(_loss(params), params)
    plain, rule = _params(), RULES[name]()
    state = rule.init(plain)
    for _ in range(4):
        plain = metaphys.pytree.tree_map(lambda t: t.detach().requires_grad_(), plain)
        a, *b = torch.autograd.grad(_loss(plain), _leaves(plain))
        updates, state = rule.update({"a": [a, None], "b": tuple(b)}, state, plain)
        plain = metaphys.apply_updates(plain, updates, inplace=False)
    torch.testing.assert_close(_leaves(params), _leaves(plain), **tolerance(torch.float64))
    assert params["a"][1] is None and isinstance(params["b"], tuple)


@pytest.mark.parametrize("name", ["sgd-momentum", "adam-eps", "adamw", "rmsprop-centered", "radam"])
def test_derivatives_by_the_start_of_first_and_second_order(name):
    start, direction = torch.randn(3), torch.randn(3)

    def end(x):
        with torch.enable_grad():
            params = {"x": x if x.requires_grad else x.clone().requires_grad_()}
            optimizer = metaphys.FuncOptimizer(RULES[name]())
            for _ in range(3):
                params = optimizer.step(params["x"].pow(3).sum() + params["x"].cos().prod(), params)
            return params["x"].pow(2).sum()

    def first(x):
        x = x.detach().clone().requires_grad_()
        return (torch.autograd.grad(end(x), x)[0] @ direction).detach()

    x = start.clone().requires_grad_()
    (grad,) = torch.autograd.grad(end(x), x, create_graph=True)
    (second,) = torch.autograd.grad(grad @ direction, x)
    numeric = slope(lambda v: end(v).detach(), start, direction)
    assert float((grad @ direction).detach()) == pytest.approx(numeric, rel=1e-6)
    assert float(second @ direction) == pytest.approx(slope(first, start, direction), rel=1e-5)


@rules
def test_in_place_writes_the_tensors_and_makes_no_graph(name):
    params = _params()
    leaves = _leaves(params)
    optimizer = metaphys.FuncOptimizer(RULES[name]())
    for _ in range(2):
        assert optimizer.step(_loss(params), params, inplace=True) is params
    assert all(now is then for now, then in zip(_leaves(params), leaves))
    assert all(p.is_leaf and p.requires_grad for p in leaves)
    state = [t for part in optimizer.state_dict()[1:] for t in part]
    assert not any(t.requires_grad for t in state)


@pytest.mark.cpu("where torch has a default device, it calls its functions twice")
def test_in_place_differentiates_once_only(monkeypatch):
    asked = []
    grad = torch.autograd.grad

    def watched(*arguments, **options):
        asked.append(options["create_graph"])
        return grad(*arguments, **options)

    monkeypatch.setattr(torch.autograd, "grad", watched)
    for inplace in (True, False):
        params = _params()
        metaphys.FuncOptimizer(metaphys.sgd(lr=0.1), inplace=inplace).step(_loss(params), params)
    assert asked == [False, True]


def test_in_place_after_out_of_place_lets_the_graph_go():
    params = _params()
    optimizer = metaphys.FuncOptimizer(metaphys.adam(lr=0.1, moment_requires_grad=True))
    params = optimizer.step(_loss(params), params)
    assert optimizer.state_dict().mu[0].requires_grad
    params = metaphys.pytree.tree_map(lambda t: t.detach().requires_grad_(), params)
    optimizer.step(_loss(params), params, inplace=True)
    assert not any(t.requires_grad for t in optimizer.state_dict().mu)


def test_what_is_frozen_or_not_in_the_loss_stays():
    params = {"w": torch.ones(2, requires_grad=True), "frozen": torch.ones(2), "spare": _params()}
    optimizer = metaphys.FuncOptimizer(metaphys.adamw(lr=0.1, weight_decay=0.5))
    after = optimizer.step((params["w"] * params["frozen"]).sum(), params)
    assert after["frozen"] is params["frozen"]
    assert after["spare"]["b"][0] is params["spare"]["b"][0]
    assert optimizer.state_dict().count.tolist() == [0, 0, 0, 0, 1]  # dicts are sorted by key


def test_the_state_is_saved_loaded_and_goes_on():
    params, rule = _params(), metaphys.adam(lr=0.1)
    optimizer = metaphys.FuncOptimizer(rule)
    assert isinstance(optimizer.state_dict(), UninitializedState)
    for _ in range(2):
        params = optimizer.step(_loss(params), params)
    file = io.BytesIO()
    torch.save((params, optimizer.state_dict()), file)
    file.seek(0)
    saved, state = torch.load(file, weights_only=True)
    other = metaphys.FuncOptimizer(rule)
    other.load_state_dict(state)
    found, expected = other.step(_loss(saved), saved), optimizer.step(_loss(params), params)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("inplace", [False, True])
def test_a_bad_step_is_refused_and_nothing_changes(inplace):
    params = _params()
    optimizer = metaphys.FuncOptimizer(metaphys.adam(lr=0.1), inplace=inplace)
    params = optimizer.step(_loss(params), params)
    before, state = [p.detach().clone() for p in _leaves(params)], optimizer.state_dict()
    wrong = {
        "loss": lambda: optimizer.step(_loss(params) * float("nan"), params),
        "loss ": lambda: optimizer.step(_loss(_params()), params),
        "loss  ": lambda: optimizer.step(_loss(params).detach(), params),
        "params": lambda: optimizer.step(_loss(params), {**params, "c": 1.0}),
        "grads": lambda: optimizer.step(_loss(params), params["b"]),
    }
    if not before[0].is_cpu:  # whether a loss is finite is looked at on the CPU only
        del wrong["loss"]
    for argument, call in wrong.items():
        with pytest.raises((ValueError, TypeError)) as caught:
            call()
        assert str(caught.value).startswith(f"`{argument.strip()}` must"), caught.value
        torch.testing.assert_close([p.detach() for p in _leaves(params)], before, rtol=0, atol=0)
        assert optimizer.state_dict() is state
    with pytest.raises(TypeError, match=r"^`rule` must"):
        metaphys.FuncOptimizer("adam")
    with pytest.raises(TypeError, match=r"^`state_dict` must"):
        optimizer.load_state_dict({"state": state})
    assert optimizer.state_dict() is state


def test_the_functional_table_agrees():
    params = [torch.ones(2, requires_grad=True)]
    optimizer = metaphys.FuncOptimizer(metaphys.adam(lr=0.1))
    grads = [[torch.tensor([2.0, -3.0])]] * 3
    for _ in grads:
        params = optimizer.step((params[0] * grads[0][0]).sum(), params)
    expected = functional(metaphys.adam(lr=0.1), [torch.ones(2)], grads)
    torch.testing.assert_close([p.detach() for p in params], expected)
