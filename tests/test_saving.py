"""States on disk and in copies: torch.save without pickled code, safetensors, deepcopy, pickle."""

# pyright: reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch
from torch import nn

import metaphys
from metaphys import utils
from tests.composed import COMPOSED
from tests.tables import RULES

EVERY = {**RULES, **COMPOSED}
rules = pytest.mark.parametrize("name", RULES)
every = pytest.mark.parametrize("name", EVERY)


class Net(nn.Module):
    """Tied weights, batch statistics and a frozen layer."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(2, 2)
        self.norm = nn.BatchNorm1d(2)
        self.second = nn.Linear(2, 2)
        self.second.weight = self.first.weight
        self.frozen = nn.Linear(2, 1).requires_grad_(False)

    def forward(self, x):
        """(n, 2) to (n, 1)."""
        return self.frozen(self.second(torch.tanh(self.norm(self.first(x)))))


def _loss(net, seed):
    generator = torch.Generator().manual_seed(seed)
    return net(torch.randn(5, 2, generator=generator, dtype=torch.float64)).pow(2).mean()


def _stepped(name, **options):
    torch.manual_seed(0)
    net = Net()
    optimizer = metaphys.MetaOptimizer(net, EVERY[name](), **options)
    optimizer.add_param_group(net, params=["second.bias"])
    for seed in range(2):
        optimizer.step(_loss(net, seed))
    return net, optimizer


def _values(net):
    return [t.detach() for t in (*net.parameters(), *net.buffers())]


def _through_a_file(value):
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def _through_safetensors(value):
    safetensors = pytest.importorskip("safetensors.torch")
    named = safetensors.load(safetensors.save(utils.named_tensors(value)))
    return utils.from_named_tensors(named, like=value)


WAYS = {"torch.load with weights_only": _through_a_file, "safetensors": _through_safetensors}


@pytest.mark.parametrize("way", WAYS)
@every
def test_a_stepped_meta_optimizer_goes_on_from_a_file(name, way):
    net, optimizer = _stepped(name)
    other_net, other = _stepped(name)
    for seed in range(2, 4):  # elsewhere by now
        other.step(_loss(other_net, seed))
    other_net.load_state_dict(WAYS[way](dict(net.state_dict())))
    other.load_state_dict(WAYS[way](optimizer.state_dict()))
    for each, meta in ((net, optimizer), (other_net, other)):
        meta.step(_loss(each, 5))
    torch.testing.assert_close(_values(other_net), _values(net))
    torch.testing.assert_close(other.state_dict(), optimizer.state_dict())


def test_a_module_state_is_read_without_pickled_code():
    net, _ = _stepped("adam")
    state = _through_a_file(metaphys.extract_state_dict(net))
    assert type(state) is metaphys.ModuleState
    other = Net()
    metaphys.recover_state_dict(other, state)
    torch.testing.assert_close(_values(other), _values(net))


def test_every_state_that_is_public_may_be_read():
    allowed = torch.serialization.get_safe_globals()
    kinds = [type(RULES[name]().init([torch.zeros(2)])) for name in RULES]
    assert {kind.__name__ for kind in kinds} >= {"SGDState", "AdamState", "MuonState"}
    assert all(kind in allowed for kind in kinds)


@rules
def test_the_state_of_a_stateful_optimizer_through_safetensors(name):
    safetensors = pytest.importorskip("safetensors.torch")
    results = []
    nets = [Net(), Net()]
    optimizers = [metaphys.Optimizer(net.parameters(), RULES[name]()) for net in nets]
    for step in range(2):
        optimizers[0].zero_grad()
        _loss(nets[0], step).backward()
        optimizers[0].step()
    saved = optimizers[0].state_dict()
    named = safetensors.load(safetensors.save(utils.named_tensors(saved["state"])))
    state = utils.from_named_tensors(named, like=saved["state"])
    nets[1].load_state_dict(nets[0].state_dict())
    optimizers[1].load_state_dict({**optimizers[1].state_dict(), "state": state})
    for net, optimizer in zip(nets, optimizers):
        optimizer.zero_grad()
        _loss(net, 7).backward()
        optimizer.step()
        results.append(_values(net))
    torch.testing.assert_close(*results, rtol=0, atol=0)


COPIES = {"deepcopy": copy.deepcopy, "pickle": lambda x: pickle.loads(pickle.dumps(x))}


# Functions that a user defines inside of another one are not pickled by Python.
PAIRS = [(n, h) for n in EVERY for h in COPIES if not (h == "pickle" and n.endswith("own"))]


@pytest.mark.parametrize(("name", "how"), PAIRS)
def test_a_copy_of_a_stepped_meta_optimizer_goes_on_by_itself(name, how):
    net, optimizer = _stepped(name, record=True)
    other = COPIES[how](optimizer)
    (other_net,) = other.modules
    assert other_net is not net and other_net.first.weight is other_net.second.weight
    assert other_net.first.weight.is_leaf and other_net.first.weight.requires_grad
    before, kept = _values(net), net.first.weight
    torch.testing.assert_close(_values(other_net), before)
    other.step(_loss(other_net, 5))
    assert net.first.weight is kept
    torch.testing.assert_close(_values(net), before, rtol=0, atol=0)
    optimizer.step(_loss(net, 5))
    torch.testing.assert_close(_values(other_net), _values(net))
    assert other.parameters(time=0).keys() == optimizer.parameters(time=0).keys()


@rules
def test_a_rule_is_pickled_and_copied(name):
    rule = RULES[name]()
    params, grads = [torch.ones(2, 2)], [torch.full((2, 2), 0.3)]
    expected = rule.update(grads, rule.init(params), params)[0]
    for how in COPIES.values():
        other = how(rule)
        torch.testing.assert_close(other.update(grads, other.init(params), params)[0], expected)


def test_a_stepped_module_is_copied_after_its_history_is_cut():
    net, optimizer = _stepped("adam")
    clone = metaphys.module_clone(net, by="deepcopy")
    torch.testing.assert_close(_values(clone), _values(net))
    optimizer.stop_gradient()
    torch.testing.assert_close(_values(copy.deepcopy(net)), _values(net))


@pytest.mark.parametrize("wrong", ["missing", "extra", "shape"])
def test_named_tensors_of_something_else_are_refused(wrong):
    _, optimizer = _stepped("adam")
    state = optimizer.state_dict()
    named = utils.named_tensors(state)
    assert {"0/count", "0/mu/0", "1/nu/0"} <= named.keys()
    if wrong == "missing":
        del named["0/count"]
    elif wrong == "extra":
        named["0/rho"] = torch.zeros(1)
    else:
        named["0/mu/0"] = torch.zeros(7)
    with pytest.raises(ValueError, match=r"^`named` must be tensors of the names"):
        utils.from_named_tensors(named, like=state)
    assert optimizer.state_dict()[0] is state[0]
