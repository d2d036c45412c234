"""Modules with meta-parameters, and modules whose tensors are swapped."""

# pyright: reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false
# pyright: reportIndexIssue=false

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.func import functional_call

import metaphys
from metaphys.nn import MetaGradientModule, reparametrize, swap_state


def _learned(value=1.0):
    return torch.tensor(value, requires_grad=True)


class Inner(MetaGradientModule):
    """A ridge regression around a feature map that is learned outside."""

    def __init__(self, features, strength, bias=None):
        super().__init__()
        self.features = features
        self.strength = strength
        self.head = nn.Linear(2, 1)
        self.scale = torch.ones(1, requires_grad=True)  # a plain tensor
        self.constant = torch.ones(1)
        self.bias = bias

    def forward(self, x):
        """(n, 3) to a scalar."""
        out = self.scale * self.head(torch.tanh(self.features(x)))
        return out.pow(2).mean() + self.strength * self.head.weight.pow(2).sum()


def test_arguments_are_meta_and_the_rest_is_its_own():
    features, strength = nn.Linear(3, 2), _learned()
    model = Inner(features, strength)
    assert {name for name, _ in model.named_parameters()} == {"head.weight", "head.bias", "scale"}
    assert dict(model.named_meta_parameters()) == {
        "strength": strength,
        "features.weight": features.weight,
        "features.bias": features.bias,
    }
    assert list(model.meta_modules()) == list(model.meta_children()) == [features]
    assert model.features is features and model.strength is strength and model.bias is None
    assert set(model.state_dict()) == {"head.weight", "head.bias", "scale"}
    assert "strength" in dir(model) and model.constant.requires_grad is False


@pytest.mark.parametrize("training", [True, False])
def test_a_module_is_meta_whatever_its_mode_unless_it_has_nothing_to_learn(training):
    features = nn.Linear(3, 2).train(training)
    assert list(Inner(features, _learned()).meta_modules()) == [features]
    frozen = nn.Linear(3, 2).requires_grad_(False)
    assert not list(Inner(frozen, _learned()).meta_modules())


def test_an_inner_step_leaves_the_meta_parameters_and_reaches_them():
    features, strength = nn.Linear(3, 2), _learned(0.1)
    model, x = Inner(features, strength), torch.randn(4, 3)
    values = {name: p.detach().clone() for name, p in model.named_parameters()}
    weight = features.weight
    optimizer = metaphys.MetaSGD(model, lr=0.1)
    for _ in range(2):
        optimizer.step(model(x))
    assert model.features.weight is weight and model.strength is strength
    assert "scale" in model._parameters and model.scale.grad_fn is not None
    found = torch.autograd.grad(model(x), (strength, weight))
    params = {name: value.requires_grad_() for name, value in values.items()}
    for _ in range(2):
        loss = functional_call(model, params, x)
        grads = torch.autograd.grad(loss, list(params.values()), create_graph=True)
        params = {name: p - 0.1 * g for (name, p), g in zip(params.items(), grads)}
    expected = torch.autograd.grad(functional_call(model, params, x), (strength, weight))
    torch.testing.assert_close(found, expected)
    # A result with a history is no parameter.
    model.last = model(x)
    assert "last" not in model._parameters and model.last.grad_fn is not None


def test_names_of_nested_meta_parameters_come_once():
    shared = _learned()
    inner = Inner(nn.Linear(3, 2), shared)
    outer = MetaGradientModule()
    outer.inner = inner
    outer.register_meta_parameter("again", shared)
    outer.register_meta_module("deep", nn.Sequential(Inner(nn.Linear(3, 2), _learned())))
    names = [name for name, _ in outer.named_meta_parameters("top")]
    assert names[0] == "top.again" and "top.inner.strength" not in names  # the same tensor
    assert "top.inner.features.weight" in names and "top.deep.0.head.weight" in names
    assert "top.deep.0.strength" in names and len(names) == len(set(names))
    assert [name for name, _ in outer.named_meta_parameters(recurse=False)] == ["again"]
    assert "inner.features" in dict(outer.named_meta_modules())
    every = list(outer.named_meta_modules(prefix="top"))
    assert all(name.startswith("top.") for name, _ in every)
    left_out = {every[0][1]}
    rest = list(outer.named_meta_modules(left_out))
    assert every[0][1] not in [module for _, module in rest] and len(rest) < len(every)
    assert left_out == {every[0][1], *(module for _, module in rest)}
    assert len(list(outer.named_meta_modules(remove_duplicate=False))) >= len(every)


def test_registered_assigned_and_deleted():
    module, x = MetaGradientModule(), _learned()
    module.register_meta_parameter("x", x)
    assert module.x is x
    module.x = y = _learned(2.0)
    assert module._meta_parameters["x"] is y
    del module.x
    assert not hasattr(module, "x")
    module.x = x
    assert module._parameters["x"] is x
    module.add_meta_module("m", nn.Linear(1, 1))
    module.m = None
    assert not list(module.meta_modules()) and module.m is None
    module.register_buffer("b", torch.zeros(()))
    module.b = x * 2
    assert "b" in module._buffers and "b" not in module._parameters
    with pytest.raises(AttributeError):
        module.nothing  # noqa: B018


WRONG = {
    "name": (TypeError, lambda m: m.register_meta_parameter(b"x", _learned())),
    "name ": (KeyError, lambda m: m.register_meta_parameter("x.y", _learned())),
    "name  ": (KeyError, lambda m: m.register_meta_module("", nn.Linear(1, 1))),
    "name   ": (KeyError, lambda m: m.register_meta_parameter("taken", _learned())),
    "param": (TypeError, lambda m: m.register_meta_parameter("x", 1.0)),
    "param ": (ValueError, lambda m: m.register_meta_parameter("x", torch.ones(1))),
    "param  ": (ValueError, lambda m: m.register_parameter("x", m.given)),
    "meta_module": (TypeError, lambda m: m.add_meta_module("x", _learned())),
}


@pytest.mark.parametrize("argument", WRONG)
def test_wrong_registrations_are_refused_by_name(argument):
    given = _learned()
    module = MetaGradientModule(given)
    module.given, module.taken = given, 1
    kind, call = WRONG[argument]
    with pytest.raises(kind) as caught:
        call(module)
    assert f"`{argument.strip()}` must" in str(caught.value)
    assert list(module.named_meta_parameters()) == [("given", given)]


def test_an_assignment_before_the_constructor_is_refused():
    class Hasty(MetaGradientModule):
        def __init__(self, x):
            self.x = x

    for value in (_learned(), nn.Linear(1, 1)):
        with pytest.raises(AttributeError, match=r"super\(\).__init__\(\)"):
            Hasty(value)
    assert Hasty(1.0).x == 1.0


@pytest.mark.parametrize("how", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_keeps_what_is_meta(how):
    model, x = Inner(nn.Linear(3, 2), _learned()), torch.randn(4, 3)
    other = how(model)
    names = [name for name, _ in model.named_meta_parameters()]
    assert [name for name, _ in other.named_meta_parameters()] == names
    torch.testing.assert_close(other(x), model(x))
    assert other.strength is not model.strength


# Swapping -----------------------------------------------------------------------------------


def _tied():
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 2))
    net[2].weight = net[0].weight
    return net


@pytest.mark.parametrize("name", ["0.weight", "2.weight"])
def test_a_swap_reaches_every_place_and_is_undone(name):
    net, x = _tied(), torch.randn(4, 2)
    before = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    new = torch.randn(2, 2, requires_grad=True)
    with reparametrize(net, {name: new, "1.running_mean": torch.ones(2)}) as same:
        assert same is net and net[0].weight is new and net[2].weight is new
        out = net.eval()(x).sum()
    after = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    assert all(after[key] is before[key] for key in before) and net[2].weight is net[0].weight
    params = {"0.weight": new, "2.weight": new, "1.running_mean": torch.ones(2)}
    expected = functional_call(net, params, (x,)).sum()
    torch.testing.assert_close(out, expected)
    found = torch.autograd.grad(out, new)
    torch.testing.assert_close(found, torch.autograd.grad(expected, new))


def test_a_swap_is_undone_after_an_error_and_by_its_result():
    net = _tied()
    weight = net[0].weight
    with pytest.raises(RuntimeError), reparametrize(net, [("0.weight", torch.zeros(2, 2))]):
        raise RuntimeError
    assert net[0].weight is weight
    original = swap_state(net, {"0.weight": torch.zeros(2, 2)})
    assert net[2].weight.sum() == 0
    swap_state(net, original)
    assert net[0].weight is weight and net[2].weight is weight


def test_other_attributes_meta_parameters_and_missing_ones():
    strength = _learned()
    model = Inner(nn.Linear(3, 2), strength)
    new = {"strength": _learned(3.0), "constant": torch.zeros(1), "bias": torch.ones(1)}
    with reparametrize(model, new):
        assert all(getattr(model, name) is value for name, value in new.items())
        assert "strength" in model._meta_parameters
    assert model.strength is strength and model.bias is None and model.constant == 1
    with reparametrize(model, {"head.extra": torch.ones(1)}, allow_missing=True):
        assert model.head.extra == 1
    assert not hasattr(model.head, "extra")


NAMES = {
    "missing": {"0.nothing": torch.ones(1)},
    "no submodule": {"7.weight": torch.ones(1)},
    "no tensor": {"1.eps": torch.ones(1)},
    "two for one": {"0.weight": torch.ones(2, 2), "2.weight": torch.zeros(2, 2)},
}


@pytest.mark.parametrize("which", NAMES)
def test_a_wrong_name_is_refused_and_nothing_changes(which):
    net = _tied()
    before = list(net.parameters())
    given = {"0.bias": torch.ones(2), **NAMES[which]}
    with pytest.raises(ValueError, match=r"^`named_tensors` must"):
        swap_state(net, given)
    assert all(now is then for now, then in zip(net.parameters(), before))
    with pytest.raises(TypeError, match=r"^`module` must"):
        swap_state(before, {})
