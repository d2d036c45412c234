"""Every rule on another device than the CPU, without waiting for it.

On the ``meta`` device tensors have no values: a step that reads one cannot be taken there. On a GPU
the values are compared too, and torch is told to raise where a step waits for the device.
"""

# pyright: reportArgumentType=false, reportOptionalMemberAccess=false

from __future__ import annotations

import contextlib

import pytest
import torch
from torch import nn

import metaphys
from tests.tables import ONE_OF_EACH, RULES

cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
DEVICES = ["meta", pytest.param("cuda", marks=cuda)]
rules = pytest.mark.parametrize("name", ("sgd-momentum", "adamw", "rmsprop-nesterov", *ONE_OF_EACH))


def _meta_gradient(name, device):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    x = torch.randn(5, 3, dtype=torch.float64)
    net, x = net.to(device), x.to(device)
    start = list(net.parameters())
    optimizer = metaphys.MetaOptimizer(net, RULES[name]())
    for _ in range(3):
        optimizer.step(net(x).square().mean())
    return torch.autograd.grad(net(x).square().mean(), start)


@contextlib.contextmanager
def _never_waiting(device):
    if device != "cuda":
        yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@rules
@pytest.mark.parametrize("device", DEVICES)
def test_a_step_is_taken_where_the_parameters_are(name, device):
    expected = _meta_gradient(name, "cpu")
    with _never_waiting(device):
        found = _meta_gradient(name, device)
    assert [(f.shape, f.device.type) for f in found] == [(e.shape, device) for e in expected]
    if device != "meta":
        torch.testing.assert_close([f.cpu() for f in found], list(expected), rtol=1e-9, atol=1e-12)


@rules
@pytest.mark.parametrize("device", DEVICES)
def test_the_stateful_form_steps_there_too(name, device):
    params = [torch.ones(3, 2, device=device), torch.ones(2, device=device)]
    for param in params:
        param.grad = torch.full_like(param, 0.5)
    optimizer = metaphys.Optimizer(params, RULES[name]())
    with _never_waiting(device):
        optimizer.step()
        optimizer.step()
    assert all(param.device.type == device for param in params)
