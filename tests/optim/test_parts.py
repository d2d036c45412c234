"""Hyper-parameters: over their whole range, out of it, as schedules, one for each leaf."""

# pyright: reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false
# pyright: reportOptionalSubscript=false, reportUnusedExpression=false

from __future__ import annotations

import inspect
import re

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings

import metaphys
from tests.tables import (
    FORMS,
    plain_adams,
    plain_adan,
    plain_lion,
    plain_muon,
    plain_rmsprop,
    stateful,
    ten_steps,
)

quick = settings(max_examples=30, deadline=None, derandomize=True)

unit = st.floats(0.0, 0.999)
positive = st.floats(0.0, 10.0)


@given(lr=positive, momentum=unit, dampening=unit, weight_decay=unit, maximize=st.booleans())
@quick
def test_sgd_over_its_whole_range(lr, momentum, dampening, weight_decay, maximize):
    hyper = {"momentum": momentum, "dampening": dampening, "weight_decay": weight_decay}
    params, grads = ten_steps(torch.float64, missing=False)
    found = stateful(metaphys.sgd(lr, **hyper, maximize=maximize), params, grads[:3])
    make = lambda p: torch.optim.SGD(p, lr=lr, **hyper, maximize=maximize)  # noqa: E731
    torch.testing.assert_close(found, stateful(None, params, grads[:3], make=make))


@given(lr=positive, b1=unit, b2=unit, eps=st.floats(1e-10, 1.0), weight_decay=unit,
       amsgrad=st.booleans(), maximize=st.booleans())  # fmt: skip
@quick
def test_adam_over_its_whole_range(lr, b1, b2, eps, weight_decay, amsgrad, maximize):
    hyper = {"betas": (b1, b2), "eps": eps, "weight_decay": weight_decay}
    hyper |= {"amsgrad": amsgrad, "maximize": maximize}
    params, grads = ten_steps(torch.float64, missing=False)
    for rule, peer in ((metaphys.adam, torch.optim.Adam), (metaphys.adamw, torch.optim.AdamW)):
        found = FORMS["functional"](rule(lr, **hyper), params, grads[:3])
        make = lambda p, peer=peer: peer(p, lr=lr, **hyper)  # noqa: E731
        expected = stateful(None, params, grads[:3], make=make)
        torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-7)


@given(lr=positive, a=unit, b=unit, eps=st.floats(1e-8, 1.0), weight_decay=unit)
@settings(quick, max_examples=10)
def test_the_other_rules_over_their_whole_range(lr, a, b, eps, weight_decay):
    common = {"lr": lr, "eps": eps, "weight_decay": weight_decay}
    betas = {"betas": (a, b)}
    table = {
        "rmsprop": (torch.optim.RMSprop, {"alpha": a, "momentum": b}),
        "adagrad": (torch.optim.Adagrad, {"lr_decay": a, "initial_accumulator_value": b}),
        "adadelta": (torch.optim.Adadelta, {"rho": a}),
        "adamax": (torch.optim.Adamax, betas),
        "radam": (torch.optim.RAdam, betas),
        "nadam": (torch.optim.NAdam, {**betas, "momentum_decay": a}),
    }
    params, grads = ten_steps(torch.float64, missing=False)
    for name, (peer, own) in table.items():
        found = FORMS["functional"](getattr(metaphys, name)(**common, **own), params, grads[:7])
        make = lambda p, peer=peer, own=own: peer(p, **common, **own)  # noqa: E731
        expected = stateful(None, params, grads[:7], make=make)
        torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-7)


@given(lr=st.floats(0.0, 1.0), a=unit, b=unit, c=unit, eps=st.floats(1e-8, 1.0), decay=unit)
@settings(quick, max_examples=10)
def test_rules_that_torch_lacks_over_their_whole_range(lr, a, b, c, eps, decay):
    params, grads = ten_steps(torch.float64, missing=False)
    table = {
        metaphys.lion(lr, (a, b), decay): lambda p, g: plain_lion(p, g, lr, a, b, decay),
        metaphys.adan(lr, (a, b, c), eps, decay): lambda p, g: plain_adan(
            p, g, lr, (a, b, c), eps, decay
        ),
        metaphys.muon(lr, decay, a, eps=eps, betas=(b, c), adamw_eps=eps): lambda p, g: plain_muon(
            p, g, lr, decay, a, eps=eps, betas=(b, c), adamw_eps=eps
        ),
        metaphys.adam(lr, (a, b), eps, decay, eps_root=c): lambda p, g: plain_adams(
            p, g, lr, (a, b), eps, c, decay, decoupled=False
        ),
        metaphys.adamw(lr, (a, b), eps, decay, eps_root=c): lambda p, g: plain_adams(
            p, g, lr, (a, b), eps, c, decay, decoupled=True
        ),
        metaphys.rmsprop(lr, a, eps, momentum=b + 1e-3, initial_scale=c, nesterov=True): (
            lambda p, g: plain_rmsprop(p, g, lr, a, eps, b + 1e-3, c)
        ),
    }
    for rule, equation in table.items():
        found = FORMS["functional"](rule, params, grads[:4])
        expected = [equation(p, [each[i] for each in grads[:4]]) for i, p in enumerate(params)]
        torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-7)


NAN, INF = float("nan"), float("inf")
OUT_OF_RANGE = {
    "lr": [-0.1, NAN, INF, -1, 10**400, "0.1", None, True, [0.1, -0.1], {"a": -1.0},
           torch.tensor(1j), torch.tensor(True)],
    "momentum": [-0.1, NAN, "x", [0.9], torch.ones(2)],
    "dampening": [NAN, INF, "x"],
    "weight_decay": [-1e-9, NAN, None, torch.ones(2)],
    "nesterov": [1, "yes"],
    "maximize": [1, None],
    "moment_requires_grad": [1, torch.ones(2)],
    "betas": [0.9, (0.9,), (0.9, 0.99, 0.999), "ab", None],
    "betas[0]": [(-0.1, 0.9), (1.0, 0.9), (NAN, 0.9), (torch.ones(2), 0.9)],
    "betas[1]": [(0.9, 1.0), (0.9, -1.0), (0.9, "x")],
    "eps": [-1e-8, NAN, "x", [1e-8]],
    "eps_root": [-1e-8, INF],
    "mask": [1, "x", [0.5], [True, "x"]],
    "amsgrad": [1, None],
    "alpha": [-0.1, 1.1, NAN, "x"],
    "rho": [-0.1, 1.1, None],
    "centered": [1],
    "initial_scale": [-0.1, INF, lambda t: 0.0, torch.ones(2)],
    "initial_accumulator_value": [-0.1, "x", lambda t: 0.0],
    "lr_decay": [-0.1, NAN],
    "momentum_decay": [-0.1, "x"],
    "decoupled_weight_decay": [1, "yes"],
    "no_prox": [None],
    "ns_coefficients": [1.0, (1.0, 2.0), None],
    "ns_steps": [-1, 100, 2.0, True],
    "adjust_lr_fn": ["mine", 1],
    "betas[2]": [(0.9, 0.9, 1.0), (0.9, 0.9, -0.1)],
}  # fmt: skip
REFUSALS = [
    (rule, argument, value)
    for rule, arguments in {
        metaphys.sgd: ("lr", "momentum", "dampening", "weight_decay", "nesterov", "maximize",
                       "moment_requires_grad"),
        metaphys.adam: ("lr", "betas", "betas[0]", "betas[1]", "eps", "eps_root", "weight_decay",
                        "maximize", "moment_requires_grad"),
        metaphys.adamw: ("lr", "betas[0]", "eps", "weight_decay", "mask", "amsgrad"),
        metaphys.rmsprop: ("lr", "alpha", "eps", "weight_decay", "momentum", "centered",
                           "initial_scale", "nesterov", "maximize", "moment_requires_grad"),
        metaphys.adagrad: ("lr_decay", "initial_accumulator_value", "eps", "maximize"),
        metaphys.adadelta: ("lr", "rho", "eps", "weight_decay"),
        metaphys.adamax: ("betas", "betas[1]", "eps"),
        metaphys.radam: ("betas[0]", "eps", "decoupled_weight_decay"),
        metaphys.nadam: ("betas[1]", "momentum_decay", "decoupled_weight_decay"),
        metaphys.lion: ("lr", "betas", "weight_decay", "maximize"),
        metaphys.muon: ("lr", "weight_decay", "momentum", "nesterov", "ns_coefficients", "eps",
                        "ns_steps", "adjust_lr_fn", "betas", "maximize"),
        metaphys.adan: ("betas[2]", "eps", "no_prox", "maximize"),
    }.items()
    for argument in arguments
    for value in OUT_OF_RANGE[argument]
]  # fmt: skip


@pytest.mark.parametrize(
    "rule, argument, value", REFUSALS, ids=lambda x: getattr(x, "__name__", str(x))
)
def test_out_of_range_is_refused_by_name(rule, argument, value):
    key = argument.split("[")[0]
    with pytest.raises((ValueError, TypeError)) as caught:
        rule(**{"lr": 0.1, key: value})
    assert str(caught.value).startswith(f"`{argument}` must")


FUNCTIONS = [getattr(metaphys, name) for name in metaphys.alias.__all__]


def _numbers(function, value):
    """The arguments of a rule that are numbers, with ``value`` for each entry of each."""
    for name, parameter in inspect.signature(function).parameters.items():
        default = 0.1 if name == "lr" else parameter.default
        if isinstance(default, tuple):
            for index in range(len(default)):
                wrong = tuple(value if i == index else each for i, each in enumerate(default))
                yield name, f"{name}[{index}]", wrong
        elif isinstance(default, float):
            yield name, name, value


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_every_number_of_every_rule_is_looked_at(function):
    checked = 0
    for name, shown, wrong in _numbers(function, NAN):
        with pytest.raises(ValueError, match=f"^{re.escape(f'`{shown}`')} must be finite"):
            function(**{"lr": 0.1, name: wrong})
        checked += 1
    assert checked >= 3


ANY_FINITE = {"dampening", "ns_coefficients"}  # torch.optim takes negative ones too


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
@given(value=st.floats(max_value=-1e-300, allow_nan=False))
@quick
def test_anything_negative_is_refused(function, value):
    for name, shown, wrong in _numbers(function, value):
        if name not in ANY_FINITE:
            with pytest.raises(ValueError, match=f"^{re.escape(f'`{shown}`')} must"):
                function(**{"lr": 0.1, name: wrong})


DECAYS = [
    (function, name, shown, index)
    for function in FUNCTIONS
    for index, (name, shown, _) in enumerate(_numbers(function, 1.0))
    if name in ("betas", "alpha", "rho") or (function is metaphys.muon and name == "momentum")
]


@pytest.mark.parametrize(
    "function, name, shown, index", DECAYS, ids=[f"{f.__name__}-{each}" for f, _, each, _ in DECAYS]
)
@given(value=st.floats(min_value=1.0, exclude_min=True, allow_nan=False))
@quick
def test_a_rate_of_decay_above_one_is_refused(function, name, shown, index, value):
    wrong = list(_numbers(function, value))[index][2]
    with pytest.raises(ValueError, match=f"^{re.escape(f'`{shown}`')} must"):
        function(**{"lr": 0.1, name: wrong})


def test_nesterov_needs_momentum_and_no_dampening():
    for arguments in ({}, {"momentum": 0.9, "dampening": 0.1}):
        with pytest.raises(ValueError, match=r"^`nesterov` must"):
            metaphys.sgd(0.1, nesterov=True, **arguments)
    with pytest.raises(ValueError, match=r"^`nesterov` must"):
        metaphys.rmsprop(0.1, nesterov=True)


SCHEDULES = {
    "power": lambda t: 0.1 * 0.9**t,
    "steps": lambda t: 0.1 if t < 3 else 0.01,
    "rational": lambda t: 0.1 / (1 + t),
}


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("default", [torch.float32, torch.float64], ids=str)
def test_a_schedule_is_the_rate_of_each_step(schedule, form, default):
    torch.set_default_dtype(default)  # the schedule's own arithmetic has to be float64 anyway
    function = SCHEDULES[schedule]
    params = [torch.randn(3, dtype=torch.float64), torch.randn(2, dtype=torch.float64)]
    grads = [[torch.randn_like(p) for p in params] for _ in range(6)]
    grads[2][0] = None
    found = FORMS[form](metaphys.sgd(function), params, grads)
    for step, each in enumerate(grads):
        rate = float(function(step))
        params = [p if g is None else p - rate * g for p, g in zip(params, each)]
    torch.testing.assert_close(found, params, rtol=1e-13, atol=1e-13)


GIVES = {
    "text": (lambda t: "0.1", TypeError, "one that gives str"),
    "nothing": (lambda t: None, TypeError, "one that gives NoneType"),
    "a rule": (metaphys.sgd, TypeError, "one that gives Rule"),
    "a vector": (lambda t: torch.ones(3), ValueError, "one that gives shape"),
}
MAY_BE_SCHEDULES = {
    "momentum": metaphys.sgd,
    "eps": metaphys.adam,
    "betas[1]": metaphys.adam,
    "weight_decay": metaphys.adamw,
    "alpha": metaphys.rmsprop,
    "clip_value": metaphys.clip.clip_grad_value,
    "momentum ": metaphys.transform.trace,
}


@pytest.mark.parametrize("gives", GIVES)
@pytest.mark.parametrize("argument", MAY_BE_SCHEDULES)
def test_a_schedule_that_gives_no_number_is_refused(argument, gives):
    schedule, error, told = GIVES[gives]
    make, name, params = MAY_BE_SCHEDULES[argument], argument.strip(), [torch.ones(2)]
    rule = make(betas=(0.9, schedule)) if "[" in name else _with(make, name, schedule)
    with pytest.raises(error, match=rf"^`{re.escape(name)}` must be a schedule of numbers.*{told}"):
        rule.update(params, rule.init(params), params)


def _with(make, name, value):
    needed = {"lr": 0.1} if "lr" in inspect.signature(make).parameters else {}
    return make(**needed, **{name: value})


@pytest.mark.parametrize("number", [np.float32, np.float64, int], ids=lambda kind: kind.__name__)
def test_a_schedule_may_give_any_real_number(number):
    params, grads = ten_steps(torch.float64, missing=False)
    found = FORMS["functional"](metaphys.adam(0.1, eps=lambda t: number(1)), params, grads[:3])
    expected = FORMS["functional"](metaphys.adam(0.1, eps=1.0), params, grads[:3])
    torch.testing.assert_close(found, expected)


def _rmsprop_with_momenta(p, grads, momenta, nesterov):
    nu = trace = torch.zeros_like(p)
    for g, momentum in zip(grads, momenta):
        nu = 0.99 * nu + 0.01 * g**2
        x = g / (nu.sqrt() + 1e-8)
        trace = momentum * trace + x
        p = p - 0.1 * (x + momentum * trace if nesterov else trace)
    return p


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("nesterov", [False, True])
def test_a_momentum_that_begins_at_zero(form, nesterov):
    params, grads = ten_steps(torch.float64, missing=False)
    momenta = [0.0, 0.0, 0.5, 0.9, 0.0, 0.9]
    rule = metaphys.rmsprop(0.1, momentum=lambda t: momenta[int(t)], nesterov=nesterov)
    found = FORMS[form](rule, params, grads[: len(momenta)])
    for i, (start, end) in enumerate(zip(params, found)):
        own = [each[i] for each in grads]
        torch.testing.assert_close(end, _rmsprop_with_momenta(start, own, momenta, nesterov))


def test_a_state_without_momentum_is_refused_where_there_is_one():
    params, plain = [torch.ones(2)], metaphys.rmsprop(0.1)
    for other in ({"momentum": 0.9}, {"centered": True}):
        with pytest.raises(ValueError, match=r"^`state` must be made with centered="):
            metaphys.rmsprop(0.1, **other).update(params, plain.init(params), params)


def test_a_schedule_counts_the_steps_of_all_leaves_in_every_form():
    # The second leaf joins late; the schedule goes on from where the tree is.
    params = [torch.zeros(1), torch.zeros(1)]
    grads = [[torch.ones(1), None]] * 3 + [[None, torch.ones(1)]]
    for form in FORMS.values():
        found = form(metaphys.sgd(lambda t: 1.0 + t), params, grads)
        assert [float(p) for p in found] == [-6.0, -4.0]


def test_betas_may_be_schedules():
    params, grads = [torch.zeros(2)], [[torch.tensor([1.0, 2.0])]] * 3
    for form in FORMS.values():
        found = form(metaphys.adam(0.1, betas=(lambda t: 0.9, 0.99)), params, grads)
        expected = form(metaphys.adam(0.1, betas=(0.9, 0.99)), params, grads)
        torch.testing.assert_close(found, expected)


def test_a_tree_of_rates_has_one_for_each_leaf():
    params = {"b": torch.zeros(2), "a": [torch.zeros(()), None]}
    rates = {"b": torch.tensor([1.0, 2.0]), "a": [3.0, None]}
    rule = metaphys.sgd(rates)
    grads = {"b": torch.ones(2), "a": [torch.ones(()), None]}
    updates, state = rule.update(grads, rule.init(params))
    torch.testing.assert_close(updates["b"], -rates["b"])
    assert float(updates["a"][0]) == -3.0 and updates["a"][1] is None
    grads["b"] = None
    updates, _ = rule.update(grads, state, params)
    assert updates["b"] is None and float(updates["a"][0]) == -3.0


@pytest.mark.parametrize("rate", [{"a": 0.1}, [0.1], torch.ones(5), torch.ones(2, 3)], ids=str)
def test_rates_that_do_not_fit_are_refused(rate):
    params = {"a": torch.zeros(3), "b": torch.zeros(3)}
    rule = metaphys.sgd(rate)
    with pytest.raises(ValueError, match=r"^`lr` must"):
        rule.update(params, rule.init(params))
