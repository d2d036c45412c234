"""Optimizers of torch.optim that go on as meta-optimizers."""

# pyright: reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import metaphys
from tests.tables import RULES, TORCH, slope, tolerance

FROM = {
    **TORCH,
    "adam-decoupled": lambda p: torch.optim.Adam(
        p, lr=0.1, weight_decay=0.3, decoupled_weight_decay=True
    ),
    "how": lambda p: torch.optim.Adam(p, lr=0.1, foreach=True),
    "tensor-rate": lambda p: torch.optim.Adam(p, lr=torch.tensor(0.1), foreach=False),
}
kinds = pytest.mark.parametrize("name", FROM)


def _net():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))


def _loss(net, x):
    return net(x).pow(2).mean() + net[0].weight.sin().sum()


def _torch_steps(optimizer, net, x, n):
    for _ in range(n):
        optimizer.zero_grad()
        _loss(net, x).backward()
        optimizer.step()


@pytest.mark.parametrize("before", [0, 3])
@kinds
def test_it_takes_the_steps_that_the_torch_optimizer_would_take(name, before):
    net, x = _net(), torch.randn(4, 2)
    theirs = FROM[name](net.parameters())
    _torch_steps(theirs, net, x, before)
    copied, state = copy.deepcopy(net), copy.deepcopy(theirs.state_dict())
    optimizer = metaphys.MetaOptimizer.from_torch(theirs, net)
    for _ in range(4):
        optimizer.step(_loss(net, x))
    other = FROM[name](copied.parameters())
    other.load_state_dict(copy.deepcopy(state))  # torch takes the tensors themselves
    _torch_steps(other, copied, x, 4)
    torch.testing.assert_close(
        [p.detach() for p in net.parameters()],
        [p.detach() for p in copied.parameters()],
        **tolerance(torch.float64),
    )
    # The torch optimizer keeps its own state.
    torch.testing.assert_close(theirs.state_dict()["state"], state["state"], rtol=0, atol=0)


def test_muon_comes_with_its_buffers():
    net, x = nn.Linear(3, 2, bias=False), torch.randn(4, 3)
    theirs = torch.optim.Muon(net.parameters(), lr=0.1)
    for _ in range(2):
        theirs.zero_grad()
        net(x).pow(2).mean().backward()
        theirs.step()
    copied = copy.deepcopy(net)
    optimizer = metaphys.MetaOptimizer.from_torch(theirs, net)
    optimizer.step(net(x).pow(2).mean())
    buffer = theirs.state[theirs.param_groups[0]["params"][0]]["momentum_buffer"].clone()
    grad = torch.autograd.grad(copied(x).pow(2).mean(), copied.weight)[0]
    # torch iterates in bfloat16, so its own step is compared by its buffer instead.
    torch.testing.assert_close(optimizer.state_dict()[0].mu[0].detach(), buffer.lerp(grad, 0.05))


@pytest.mark.parametrize("name", RULES)
def test_the_stateful_form_goes_on_too(name):
    net, x = _net(), torch.randn(4, 2)
    stateful = metaphys.Optimizer(net.parameters(), RULES[name]())
    _torch_steps(stateful, net, x, 2)
    copied = copy.deepcopy(net)
    optimizer = metaphys.MetaOptimizer.from_torch(stateful, net)
    for _ in range(2):
        optimizer.step(_loss(net, x))
    other = metaphys.Optimizer(copied.parameters(), RULES[name]())
    other.load_state_dict(stateful.state_dict())
    _torch_steps(other, copied, x, 2)
    found = [p.detach() for p in net.parameters()]
    torch.testing.assert_close(found, [p.detach() for p in copied.parameters()])


def test_groups_with_options_schedulers_and_missing_gradients():
    net, x = _net(), torch.randn(4, 2)
    results = []
    for way in ("torch", "meta"):
        each = copy.deepcopy(net)
        theirs = torch.optim.SGD(
            [
                {"params": each[0].parameters(), "lr": 0.5, "nesterov": True, "name": "body"},
                {"params": each[2].bias, "momentum": 0.0},
            ],
            lr=0.1,
            momentum=0.9,
        )
        schedule = torch.optim.lr_scheduler.ExponentialLR(theirs, 0.5)
        each[2](torch.randn(2, 3)).sum().backward()  # the first group has no gradient yet
        theirs.step()
        schedule.step()
        torch.manual_seed(2)
        if way == "torch":
            _torch_steps(theirs, each, x, 3)
        else:
            optimizer = metaphys.MetaOptimizer.from_torch(theirs, each)
            weight = each[2].weight
            for _ in range(3):
                optimizer.step(_loss(each, x))
            assert each[2].weight is weight  # it is in no group
        results.append([p.detach() for p in each.parameters()])
    torch.testing.assert_close(*results)


def test_a_learned_rate_in_place_of_every_groups_own():
    start, x = _net(), torch.randn(4, 2)
    theirs = torch.optim.Adam([{"params": start[0].parameters(), "lr": 0.5}], lr=0.1)
    _torch_steps(theirs, start, x, 2)

    def end(rate):
        net = copy.deepcopy(start)
        other = torch.optim.Adam(net[0].parameters())
        other.load_state_dict(copy.deepcopy(theirs.state_dict()))
        optimizer = metaphys.MetaOptimizer.from_torch(other, net, lr=rate)
        with torch.enable_grad():
            for _ in range(3):
                optimizer.step(_loss(net, x))
        return _loss(net, x)

    rate = torch.tensor(0.2, requires_grad=True)
    (found,) = torch.autograd.grad(end(rate), rate)
    numeric = slope(lambda r: end(r).detach(), rate.detach(), torch.tensor(1.0), h=1e-4)
    assert float(found) == pytest.approx(numeric, rel=1e-6)


def test_half_precision_state_and_options():
    net = nn.Linear(2, 1).to(torch.bfloat16)
    theirs = torch.optim.Adam(net.parameters())
    net(torch.ones(1, 2, dtype=torch.bfloat16)).sum().backward()
    theirs.step()
    optimizer = metaphys.MetaOptimizer.from_torch(
        theirs, net, first_order=True, truncate=2, record=True, moment_requires_grad=True
    )
    assert all(m.dtype is torch.float32 for m in optimizer.state_dict()[0].mu)
    assert all(m.requires_grad for m in optimizer.state_dict()[0].mu)
    assert optimizer.first_order and optimizer.truncate == 2 and optimizer.record
    assert type(optimizer) is metaphys.MetaOptimizer


class Own(torch.optim.SGD):
    """A step of its own, which nobody knows."""


REFUSED = {
    "optimizer": lambda n: (torch.optim.ASGD(n.parameters()), n),
    "optimizer ": lambda n: (torch.optim.LBFGS(n.parameters()), n),
    "optimizer  ": lambda n: (torch.optim.Rprop(n.parameters()), n),
    "optimizer   ": lambda n: (Own(n.parameters(), lr=0.1), n),
    "optimizer    ": lambda n: (metaphys.sgd(lr=0.1), n),
    "module": lambda n: (torch.optim.SGD(n.parameters(), lr=0.1), n[0]),
    "module ": lambda n: (torch.optim.SGD(n.parameters(), lr=0.1), list(n.parameters())),
}


@pytest.mark.parametrize("argument", REFUSED)
def test_what_has_no_rule_or_no_module_is_refused_by_name(argument):
    optimizer, module = REFUSED[argument](_net())
    with pytest.raises((ValueError, TypeError)) as caught:
        metaphys.MetaOptimizer.from_torch(optimizer, module)
    assert str(caught.value).startswith(f"`{argument.strip()}` must")


def test_an_unknown_option_is_refused_by_name():
    net = _net()
    theirs = torch.optim.SGD(net.parameters(), lr=0.1)
    with pytest.raises(ValueError, match=r"^`rate` must be one of"):
        metaphys.MetaOptimizer.from_torch(theirs, net, rate=0.1)
    theirs.defaults["lookahead"] = theirs.param_groups[0]["lookahead"] = True
    with pytest.raises(ValueError, match=r"^`lookahead` must be an option that sgd has too"):
        metaphys.MetaOptimizer.from_torch(theirs, net)
