"""The parameters of past steps."""

# pyright: reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.func import functional_call

import metaphys


def _loss(net, x):
    return net(x).pow(2).mean()


def test_the_parameters_at_every_time():
    net, x = nn.Linear(2, 1), torch.randn(3, 2)
    optimizer = metaphys.MetaSGD(net, lr=0.1, record=True)
    seen = [dict(net.named_parameters())]
    for _ in range(3):
        optimizer.step(_loss(net, x))
        seen.append(dict(net.named_parameters()))
    for time, params in enumerate(seen):
        for asked in (time, time - len(seen)):
            found = optimizer.parameters(time=asked)
            assert found.keys() == params.keys()
            assert all(found[name] is params[name] for name in params)
    assert optimizer.parameters()["weight"] is net.weight
    # An outer loss on the way: of the parameters after one step.
    loss = functional_call(net, optimizer.parameters(time=1), x).sum()
    assert torch.autograd.grad(loss, seen[0]["weight"])[0].abs().sum() > 0


def test_several_modules_and_split_groups():
    one, two, x = nn.Linear(2, 2), nn.Linear(2, 1), torch.randn(3, 2)
    optimizer = metaphys.MetaSGD(one, lr=0.1, record=True)
    optimizer.add_param_group(two)
    optimizer.add_param_group(one, params=["bias"], lr=0.5)
    start = one.bias
    optimizer.step(two(one(x)).pow(2).mean())
    assert optimizer.parameters(time=0)["bias"] is start
    assert optimizer.parameters(-1, two).keys() == {"weight", "bias"}
    assert optimizer.parameters(0, two)["bias"] is not two.bias
    with pytest.raises(ValueError, match=r"^`module` must"):
        optimizer.parameters(module=nn.Linear(2, 1))


def test_what_was_not_recorded_is_refused():
    net, x = nn.Linear(2, 1), torch.randn(3, 2)
    optimizer = metaphys.MetaSGD(net, lr=0.1)
    for _ in range(2):
        optimizer.step(_loss(net, x))
    assert optimizer.parameters(time=0)["weight"] is net.weight
    for time in (1, -2):
        with pytest.raises(ValueError, match=r"^`time` must.*record=True"):
            optimizer.parameters(time=time)
    optimizer.record = True
    optimizer.step(_loss(net, x))
    assert len({id(optimizer.parameters(time)["weight"]) for time in (0, 1)}) == 2


def test_recovery_starts_a_new_record():
    net, x = nn.Linear(2, 1), torch.randn(3, 2)
    optimizer = metaphys.MetaSGD(net, lr=0.1, momentum=0.9, record=True)
    states = [metaphys.extract_state_dict(each) for each in (net, optimizer)]
    start = net.weight
    for _ in range(2):
        optimizer.step(_loss(net, x))
        for each, state in zip((net, optimizer), states):
            metaphys.recover_state_dict(each, state)
        optimizer.step(_loss(net, x))
        assert optimizer.parameters(time=0)["weight"] is start
        with pytest.raises(ValueError, match=r"^`time` must"):
            optimizer.parameters(time=2)


def test_a_copy_has_a_record_of_its_own():
    net, x = nn.Linear(2, 1), torch.randn(3, 2)
    optimizer = metaphys.MetaSGD(net, lr=0.1, record=True)
    optimizer.step(_loss(net, x))
    other = copy.deepcopy(optimizer)
    found, expected = other.parameters(time=0), optimizer.parameters(time=0)
    torch.testing.assert_close(found["weight"], expected["weight"])
    assert found["weight"] is not expected["weight"]
