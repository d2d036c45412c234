"""Every rule on another device than the CPU, without waiting for it.

On the ``meta`` device tensors have no values: a step that reads one cannot be taken there. On a GPU
the values are compared too, and torch is told to raise where a step waits for the device. On every
machine the operators of a step are looked at: none reads a value, and what goes from the CPU to the
device does so without waiting.
"""

# pyright: reportArgumentType=false, reportOptionalMemberAccess=false

from __future__ import annotations

import contextlib

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import metaphys
from tests.composed import COMPOSED
from tests.tables import ONE_OF_EACH, RULES, Leaves

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


# Without waiting ----------------------------------------------------------------------------

EVERY = {**RULES, **COMPOSED}
every = pytest.mark.parametrize("name", EVERY)
READS = ("_local_scalar_dense", "item", "is_nonzero", "equal", "nonzero", "masked_select", "unique")


class NoReading(TorchDispatchMode):
    """Raises where a value is read: on another device that would wait for it."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Run the operator, unless it makes the host wait."""
        name = func._schema.name.partition("::")[2]
        assert name not in READS, f"{func} reads a value"
        if name in ("_to_copy", "copy_"):
            self._look_at_copy(args, kwargs or {})
        return func(*args, **(kwargs or {}))

    def _look_at_copy(self, args, kwargs):
        if "device" in kwargs and kwargs["device"] is not None:
            source, target = args[0].device, torch.device(kwargs["device"])
            assert source == target or kwargs.get("non_blocking"), f"waits for {target}"
            assert source.type == "cpu" or target.type != "cpu", f"reads what is on {source}"


def _loss_gradients(params):
    return [torch.full_like(p, 0.5) for p in params]


@every
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_no_step_of_the_functional_form_reads_a_value(name, device):
    rule = EVERY[name]()
    params = [torch.ones(3, 2, device=device), torch.ones(2, device=device)]
    state = rule.init(params)
    with NoReading():
        for _ in range(3):
            updates, state = rule.update(_loss_gradients(params), state, params)
            params = metaphys.apply_updates(params, updates, inplace=False)
        updates, state = rule.update([None, params[1]], state, params)
        params = metaphys.apply_updates(params, updates)
    assert {p.device.type for p in params} == {device}


@every
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_no_step_of_the_stateful_form_reads_a_value(name, device):
    params = Leaves([torch.ones(3, 2, device=device), torch.ones(2, device=device)]).p
    optimizer = metaphys.Optimizer(params, EVERY[name]())
    for step in range(3):
        for param, grad in zip(params, _loss_gradients(params)):
            param.grad = None if step == 1 and param.ndim == 1 else grad
        with NoReading():
            optimizer.step()
    assert {p.device.type for p in params} == {device}


@every
def test_no_step_of_the_meta_form_reads_a_value(name):
    module = Leaves([torch.ones(3, 2, device="meta"), torch.ones(2, device="meta")])
    optimizer = metaphys.MetaOptimizer(module, EVERY[name]())
    with NoReading():
        for _ in range(3):
            optimizer.step(sum(p.sin().sum() for p in module.p))
    assert {p.device.type for p in module.p} == {"meta"}


def test_reading_a_value_would_be_seen():
    for read in (torch.Tensor.item, bool, float, lambda t: torch.equal(t, t)):
        with pytest.raises(AssertionError, match="reads a value"), NoReading():
            read(torch.ones(1))
    with pytest.raises(AssertionError, match="waits for meta"), NoReading():
        torch.ones(1).to("meta")
    with pytest.raises(AssertionError, match="reads what is on meta"), NoReading():
        torch.ones(1, device="meta").to("cpu", non_blocking=True)


def _learned(value):
    """Every number but 0 as a tensor on the device that requires a gradient."""
    if type(value) is float and value:
        return torch.tensor(value, device="meta", requires_grad=True)
    return tuple(map(_learned, value)) if isinstance(value, tuple) else value


@pytest.mark.parametrize("name", RULES)
def test_learned_numbers_are_used_where_they_are(name):
    rule = RULES[name]()
    rule = metaphys.Rule(rule.core, {name: _learned(value) for name, value in rule.hyper.items()})
    params = [torch.ones(3, 2, device="meta"), torch.ones(2, device="meta")]
    state = rule.init(params)
    with NoReading():
        for _ in range(2):
            updates, state = rule.update(_loss_gradients(params), state, params)
    assert all(u.requires_grad and u.device.type == "meta" for u in updates)


# Whatever torch's default device is ---------------------------------------------------------


@every
def test_what_a_rule_makes_itself_is_where_it_belongs(name):
    grads = [[torch.randn(3, 2), torch.randn(2)] for _ in range(3)]

    def end():
        rule, params = EVERY[name](), [torch.ones(3, 2, device="cpu"), torch.ones(2, device="cpu")]
        state = rule.init(params)
        for each in grads:
            updates, state = rule.update(each, state, params)
            params = metaphys.apply_updates(params, updates, inplace=False)
        return params

    expected = end()
    torch.set_default_device("meta")  # where nothing has a value
    try:
        found = end()
    finally:
        torch.set_default_device(None)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
