"""Parameter groups of a meta-optimizer: options of their own, learned ones, their state."""

# pyright: reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false
# pyright: reportOperatorIssue=false

from __future__ import annotations

import pytest
import torch
from torch import nn

import metaphys
from tests.composed import COMPOSED
from tests.tables import RULES, slope, tolerance

rules = pytest.mark.parametrize("name", RULES)


def _net():
    return nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))


def _loss(net, x):
    return net(x).pow(2).mean()


@rules
def test_a_split_without_options_changes_nothing_at_any_time(name):
    whole, x = _net(), torch.randn(4, 2)
    split = metaphys.module_clone(whole, by="deepcopy")
    one = metaphys.MetaOptimizer(whole, RULES[name]())
    other = metaphys.MetaOptimizer(split, RULES[name]())
    for step in range(4):
        if step == 1:
            other.add_param_group(split, params=["0.bias", split[2].weight])
        if step == 2:
            other.add_param_group(split, params="2.weight")
        one.step(_loss(whole, x))
        other.step(_loss(split, x))
    assert len(other.state_dict()) == 3 and other.modules == [split]
    found, expected = list(split.parameters()), list(whole.parameters())
    torch.testing.assert_close(found, expected, **tolerance(torch.float64))


@pytest.mark.parametrize("name", ["decay-trace-scale", "scheduled", "masked", "deep", "own"])
def test_a_composed_rule_is_split_too(name):
    whole, x = _net(), torch.randn(4, 2)
    split = metaphys.module_clone(whole, by="deepcopy")
    one = metaphys.MetaOptimizer(whole, COMPOSED[name]())
    other = metaphys.MetaOptimizer(split, COMPOSED[name]())
    other.add_param_group(split, params=["0.bias"])
    for _ in range(3):
        one.step(_loss(whole, x))
        other.step(_loss(split, x))
    if name in ("masked", "deep"):  # they look at all leaves of a group together
        assert all(torch.isfinite(p).all() for p in split.parameters())
    else:
        torch.testing.assert_close(list(split.parameters()), list(whole.parameters()))
    if name == "own":  # nobody knows what of its state is whose
        with pytest.raises(ValueError, match=r"^`params` must be not stepped yet"):
            other.add_param_group(split, params=["0.weight"])


def test_every_group_has_its_own_learned_hyper_parameters():
    torch.manual_seed(0)
    start, x = _net(), torch.randn(4, 2)
    rates = torch.tensor([0.1, 0.2, 0.3])

    def end(values, decay):
        net, other = (metaphys.module_clone(each, by="deepcopy") for each in (start, extra))
        optimizer = metaphys.MetaSGD(net, lr=values[0], momentum=0.9)
        optimizer.add_param_group(net, params=["2.weight", "2.bias"], lr=values[1], momentum=decay)
        optimizer.add_param_group(other, lr=values[2])
        with torch.enable_grad():
            for _ in range(3):
                optimizer.step(_loss(other, net(x)))
        return _loss(other, net(x))

    extra = nn.Linear(1, 2)
    learned = rates.clone().requires_grad_(), torch.tensor(0.7, requires_grad=True)
    found = torch.autograd.grad(end(*learned), learned)
    for direction in torch.eye(3):
        numeric = slope(lambda r: end(r, torch.tensor(0.7)).detach(), rates, direction)
        assert float(found[0] @ direction) == pytest.approx(numeric, rel=1e-6)
    numeric = slope(lambda d: end(rates, d).detach(), torch.tensor(0.7), torch.tensor(1.0))
    assert float(found[1]) == pytest.approx(numeric, rel=1e-6)
    assert all(g.abs().min() > 0 for g in found)


def test_second_derivative_by_a_groups_rate():
    # w' = w - a g, b' = b - r g with g = 2 (w x + b): all by hand.
    net = nn.Linear(1, 1)
    w, b, x = net.weight.item(), net.bias.item(), 0.7
    rate = torch.tensor(0.3, requires_grad=True)
    optimizer = metaphys.MetaSGD(net, lr=0.1)
    optimizer.add_param_group(net, params=["bias"], lr=rate)
    inputs = torch.tensor([[x]])
    optimizer.step(net(inputs).pow(2).sum())
    outer = net(inputs).pow(2).sum()
    (first,) = torch.autograd.grad(outer, rate, create_graph=True)
    (second,) = torch.autograd.grad(first, rate)
    g = 2 * (w * x + b)
    y = w * x + b - 0.1 * g * x**2 - 0.3 * g
    assert float(first.detach()) == pytest.approx(-2 * y * g)
    assert float(second) == pytest.approx(2 * g * g)


def test_rates_by_name_are_kept_by_the_rest_and_given_to_the_part():
    net = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1, bias=False))
    rates = {"0.weight": 0.1, "0.bias": 0.2, "1.weight": 0.3}
    optimizer = metaphys.MetaSGD(net, lr=rates)
    optimizer.add_param_group(net, params=["0.bias", "1.weight"], lr={"0.bias": 1.0, "1.weight": 2})
    before = {k: v.detach() for k, v in net.named_parameters()}
    optimizer.step(sum(p.sum() for p in net.parameters()))
    moved = {k: float((before[k] - v.detach()).sum()) for k, v in net.named_parameters()}
    assert moved == pytest.approx({"0.weight": 0.1, "0.bias": 1.0, "1.weight": 2.0})


def test_a_tied_weight_is_chosen_by_any_of_its_names():
    net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    net[1].weight = net[0].weight
    for name in ("0.weight", "1.weight"):
        clone = metaphys.module_clone(net, by="deepcopy")
        optimizer = metaphys.MetaSGD(clone, lr=0.1)
        optimizer.add_param_group(clone, params=[name, clone[0].weight], lr=1.0)
        assert len(optimizer.state_dict()) == 1
        optimizer.step(clone[0].weight.sum())
        assert clone[0].weight is clone[1].weight
        torch.testing.assert_close(clone[0].weight, net[0].weight - 1.0)


def test_other_kinds_of_state_before_the_first_step_only():
    net, x = _net(), torch.randn(4, 2)
    optimizer = metaphys.MetaSGD(net, lr=0.1)
    optimizer.add_param_group(net, params=["0.bias"], momentum=0.9)
    assert [len(state.trace) for state in optimizer.state_dict()] == [0, 1]
    optimizer.step(_loss(net, x))
    states = optimizer.state_dict()
    with pytest.raises(ValueError, match=r"^`params` must be not stepped yet.*before the first"):
        optimizer.add_param_group(net, params=["0.weight"], momentum=0.9)
    assert all(now is then for now, then in zip(optimizer.state_dict(), states))
    optimizer.add_param_group(net, params=["0.weight"], lr=0.2)
    optimizer.step(_loss(net, x))


WRONG = {
    "params": (["0.bias", "nothing"], {}),
    "params ": ([torch.ones(1)], {}),
    "params  ": ([], {}),
    "params   ": (["frozen.weight"], {}),
    "momentum": (["0.bias"], {"momentum": -1.0}),
    "lr": (["0.bias"], {"lr": {"0.weight": 0.1}}),
    "eps": (["0.bias"], {"eps": 1e-3}),
}


@pytest.mark.parametrize("argument", WRONG)
def test_a_wrong_part_is_refused_and_nothing_changes(argument):
    net = _net()
    net.add_module("frozen", nn.Linear(1, 1).requires_grad_(False))
    optimizer = metaphys.MetaSGD(net, lr=0.1, momentum=0.9)
    states = optimizer.state_dict()
    params, hyper = WRONG[argument]
    with pytest.raises(ValueError) as caught:
        optimizer.add_param_group(net, params=params, **hyper)
    assert str(caught.value).startswith(f"`{argument.strip()}` must")
    assert len(optimizer.state_dict()) == 1 and optimizer.state_dict()[0] is states[0]
