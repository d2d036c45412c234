"""Classes that bind a rule: the same arguments in every form, torch's defaults, both spellings."""

# pyright: reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false

from __future__ import annotations

import copy
import inspect
import pickle

import pytest
import torch

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
