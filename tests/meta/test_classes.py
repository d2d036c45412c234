"""Classes that bind a rule: the same arguments in every form, torch's defaults, both spellings."""

# pyright: reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false

from __future__ import annotations

import copy
import inspect
import pickle

import pytest
import torch
from torch import nn

import metaphys

# functional, stateful, meta, torch's (where torch has the rule)
BOUND = {
    "adam": (metaphys.adam, metaphys.Adam, metaphys.MetaAdam, torch.optim.Adam),
    "adamw": (metaphys.adamw, metaphys.AdamW, metaphys.MetaAdamW, torch.optim.AdamW),
    "rmsprop": (metaphys.rmsprop, metaphys.RMSprop, metaphys.MetaRMSprop, torch.optim.RMSprop),
    "adagrad": (metaphys.adagrad, metaphys.Adagrad, metaphys.MetaAdagrad, torch.optim.Adagrad),
    "adadelta": (metaphys.adadelta, metaphys.Adadelta, metaphys.MetaAdadelta, torch.optim.Adadelta),
    "adamax": (metaphys.adamax, metaphys.Adamax, metaphys.MetaAdamax, torch.optim.Adamax),
    "radam": (metaphys.radam, metaphys.RAdam, metaphys.MetaRAdam, torch.optim.RAdam),
    "nadam": (metaphys.nadam, metaphys.NAdam, metaphys.MetaNAdam, torch.optim.NAdam),
    "lion": (metaphys.lion, metaphys.Lion, metaphys.MetaLion, None),
    "adan": (metaphys.adan, metaphys.Adan, metaphys.MetaAdan, None),
    "muon": (metaphys.muon, metaphys.Muon, metaphys.MetaMuon, torch.optim.Muon),
}
bound = pytest.mark.parametrize("name", BOUND)

# TorchOpt's positional order for its own, else torch's, else the authors'.
ORDER = {
    "adam": ["lr", "betas", "eps", "weight_decay"],
    "adamw": ["lr", "betas", "eps", "weight_decay"],
    "rmsprop": ["lr", "alpha", "eps", "weight_decay", "momentum", "centered"],
    "adagrad": ["lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps"],
    "adadelta": ["lr", "rho", "eps", "weight_decay"],
    "adamax": ["lr", "betas", "eps", "weight_decay"],
    "radam": ["lr", "betas", "eps", "weight_decay"],
    "nadam": ["lr", "betas", "eps", "weight_decay", "momentum_decay", "decoupled_weight_decay"],
    "lion": ["lr", "betas", "weight_decay"],
    "adan": ["lr", "betas", "eps", "weight_decay"],
    "muon": ["lr", "weight_decay", "momentum", "nesterov", "ns_coefficients", "eps", "ns_steps",
             "adjust_lr_fn"],
}  # fmt: skip


def _arguments(form) -> dict[str, inspect.Parameter]:
    parameters = inspect.signature(form).parameters
    return {name: p for name, p in parameters.items() if name not in ("params", "module")}


@bound
def test_every_form_has_the_arguments_of_the_function(name):
    functional, stateful, meta = map(_arguments, BOUND[name][:3])
    learn = functional.pop("moment_requires_grad")
    assert list(stateful.values()) == list(functional.values())
    assert meta.pop("moment_requires_grad").default is (name != "adamw")
    assert learn.default is False
    options = [meta.pop(n) for n in ("first_order", "grad_callback", "truncate", "record")]
    assert [each.default for each in options] == [False, None, None, False]
    assert all(each.kind is inspect.Parameter.KEYWORD_ONLY for each in options)
    assert list(meta.values()) == list(functional.values())


@bound
def test_the_positional_order(name):
    positional = [
        name
        for name, p in _arguments(BOUND[name][0]).items()
        if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    ]
    assert positional == ORDER[name]


@bound
def test_defaults_are_those_of_torch(name):
    functional, torchs = BOUND[name][0], BOUND[name][3]
    if torchs is None:
        return
    theirs = _arguments(torchs)
    shared = [n for n in _arguments(functional) if n in theirs]
    assert len(shared) >= 5
    for argument in shared:
        assert _arguments(functional)[argument].default == theirs[argument].default, argument


def _other(parameter):
    """A valid value that is not the default."""
    default = parameter.default
    if isinstance(default, bool):
        return not default
    if default is None:
        return "match_rms_adamw" if parameter.name == "adjust_lr_fn" else True  # mask
    if type(default) is int:
        return default + 1
    return tuple(0.5 for _ in default) if isinstance(default, tuple) else 0.3


@bound
def test_every_argument_reaches_the_rule(name):
    functional, stateful, meta, _ = BOUND[name]
    given = {n: _other(p) for n, p in _arguments(functional).items()}
    given.pop("use_accelerated_op", None)
    net = torch.nn.Linear(2, 1)
    del given["moment_requires_grad"]
    rules = (functional(**given), stateful(net.parameters(), **given).rule, meta(net, **given).rule)
    for rule in rules:
        assert {k: rule.hyper[k] for k in given} == given
    for learn in (False, True):
        rule = meta(net, **given, moment_requires_grad=learn).rule
        assert rule.hyper["moment_requires_grad"] is learn
    values = [given[n] for n in ORDER[name]]
    for rule in (stateful(net.parameters(), *values).rule, meta(net, *values).rule):
        assert [rule.hyper[n] for n in ORDER[name]] == values


@bound
def test_unknown_and_missing_arguments_are_refused(name):
    _, stateful, meta, _ = BOUND[name]
    net = torch.nn.Linear(2, 1)
    for form, subject in ((stateful, net.parameters()), (meta, net)):
        with pytest.raises(TypeError, match="unexpected keyword argument 'rate'"):
            form(subject, rate=0.1)
        with pytest.raises(TypeError, match="missing a required argument"):
            form(lr=0.1)
    with pytest.raises(TypeError, match="moment_requires_grad"):
        stateful(net.parameters(), moment_requires_grad=True)


@bound
def test_a_stateful_form_is_a_torch_optimizer_that_copies(name):
    net = torch.nn.Linear(2, 1)
    optimizer = BOUND[name][1](params=net.parameters(), lr=0.1)
    assert isinstance(optimizer, torch.optim.Optimizer)
    net(torch.ones(3, 2)).pow(2).mean().backward()
    optimizer.step()
    for other in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        assert type(other) is BOUND[name][1] and other.rule.hyper == optimizer.rule.hyper
        torch.testing.assert_close(other.state_dict(), optimizer.state_dict())


def test_both_spellings():
    for one, other in (
        ("AdaMax", "Adamax"),
        ("AdaDelta", "Adadelta"),
        ("AdaGrad", "Adagrad"),
        ("RMSProp", "RMSprop"),
    ):
        for prefix in ("", "Meta"):
            assert getattr(metaphys, prefix + one) is getattr(metaphys, prefix + other)


# Precision ------------------------------------------------------------------------------------
#
# MetaAdam in float32, on a network of 33k parameters, against float64. With ε = 1e-8 the derivative
# ∂u/∂g is of order 1/ε wherever |g| ≲ ε, so that rounding alone moves the meta-gradient by per
# cents, whoever computes it: the bound is what plain autograd loses.

STEPS = 5
LR = 1e-2


def _problem(dtype):
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(64, 128), nn.Tanh(), nn.Linear(128, 128), nn.Tanh(), nn.Linear(128, 64)
    ).double()
    x, y = torch.randn(64, 64, dtype=torch.float64), torch.randn(64, 64, dtype=torch.float64)
    return copy.deepcopy(net).to(dtype), x.to(dtype), y.to(dtype)


def _metaphys(dtype, eps):
    net, x, y = _problem(dtype)
    start = list(net.parameters())
    optimizer = metaphys.MetaAdam(net, lr=LR, eps=eps)
    for _ in range(STEPS):
        optimizer.step((net(x) - y).square().mean())
    return torch.autograd.grad((net(x) - y).square().mean(), start)


def _plain(dtype, eps):
    net, x, y = _problem(dtype)
    names = [name for name, _ in net.named_parameters()]
    start = params = list(net.parameters())

    def loss(params):
        out = torch.func.functional_call(net, dict(zip(names, params)), (x,))
        return (out - y).square().mean()

    moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in params]
    for t in range(1, STEPS + 1):
        grads = torch.autograd.grad(loss(params), params, create_graph=True)
        moments = [
            (0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g) for g, (m, v) in zip(grads, moments)
        ]
        params = [
            p - LR * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + eps)
            for p, (m, v) in zip(params, moments)
        ]
    return torch.autograd.grad(loss(params), start)


def _error(found, truth):
    difference = torch.cat([(f.double() - t).flatten() for f, t in zip(found, truth)])
    return float(difference.norm() / torch.cat([t.flatten() for t in truth]).norm())


def test_with_an_epsilon_that_float32_resolves_it_is_float64_to_1e_5():
    truth = _metaphys(torch.float64, 1e-4)
    assert _error(_plain(torch.float64, 1e-4), truth) < 1e-9
    assert _error(_metaphys(torch.float32, 1e-4), truth) < 1e-5


@pytest.mark.parametrize("eps", [1e-8, 1e-6])
def test_with_a_smaller_one_it_loses_no_more_than_plain_autograd(eps):
    truth = _metaphys(torch.float64, eps)
    plain = _error(_plain(torch.float32, eps), truth)
    assert _error(_metaphys(torch.float32, eps), truth) <= 1.1 * plain
