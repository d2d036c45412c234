"""Rules on trees: against torch.optim, against finite differences, and what must never change."""

# pyright: reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false
# pyright: reportOptionalSubscript=false, reportUnusedExpression=false

from __future__ import annotations

import copy
import inspect
import io
import pickle
import re
from typing import NamedTuple

import hypothesis.strategies as st
import optree
import pytest
import torch
from hypothesis import given, settings

import metaphys
from metaphys import apply_updates
from metaphys.ops import _fused as fused_operators
from metaphys.optim._fused import Fused
from tests.tables import (
    EQUATIONS,
    FORMS,
    RULES,
    TORCH,
    plain_adan,
    plain_lion,
    plain_muon,
    plain_rmsprop,
    slope,
    stateful,
    tolerance,
)

rules = pytest.mark.parametrize("name", RULES)
quick = settings(max_examples=30, deadline=None, derandomize=True)

# Against torch.optim ------------------------------------------------------------------------


def _problem(dtype, missing):
    """Parameters, and gradients of 10 steps in which some leaves have none."""
    shapes = [(3,), (2, 2), (), (5,)]
    params = [torch.randn(shape).to(dtype) for shape in shapes]
    grads = []
    for step in range(10):
        each = [torch.randn(shape).to(dtype) for shape in shapes]
        absent = {1: [0, 3], 2: [0], 5: [1], 6: [0, 1, 2]}.get(step, []) if missing else []
        grads.append([None if i in absent or (missing and i == 3 and step < 4) else g
                      for i, g in enumerate(each)])  # fmt: skip
    return params, grads


@pytest.mark.parametrize("name", TORCH)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("missing", [False, True], ids=["all", "some-missing"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_ten_steps_are_those_of_torch(name, form, missing, dtype):
    params, grads = _problem(dtype, missing)
    found = FORMS[form](RULES[name](), params, grads)
    expected = stateful(None, params, grads, make=TORCH[name])
    assert all(f.dtype is dtype for f in found)
    torch.testing.assert_close(found, expected, **tolerance(dtype))


@pytest.mark.parametrize("name", TORCH)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_keeps_its_moments_in_float32(name, form, dtype):
    params, grads = _problem(dtype, missing=True)
    found = FORMS[form](RULES[name](), params, grads)
    # torch.optim in float32, with parameters rounded after every step.
    wide = [torch.nn.Parameter(p.float()) for p in params]
    optimizer = TORCH[name](wide)
    for each in grads:
        for param, grad in zip(wide, each):
            param.grad = None if grad is None else grad.float()
        optimizer.step()
        for param in wide:
            param.data = param.data.to(dtype).float()
    assert all(f.dtype is dtype for f in found)
    # Ten roundings of the update and of the sum.
    loose = {key: 4 * value for key, value in tolerance(dtype).items()}
    torch.testing.assert_close([f.float() for f in found], [w.detach() for w in wide], **loose)


@rules
def test_the_forms_agree(name):
    params, grads = _problem(torch.float64, missing=True)
    results = [FORMS[form](RULES[name](), params, grads) for form in FORMS]
    for result in results[1:]:
        torch.testing.assert_close(result, results[0], **tolerance(torch.float64))


@pytest.mark.parametrize("name", EQUATIONS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_ten_steps_are_those_of_the_paper(name, dtype):
    params, grads = _problem(dtype, missing=False)
    ours, equation = EQUATIONS[name]
    found = FORMS["functional"](ours(), params, grads)
    expected = [equation(p, [each[i] for each in grads]) for i, p in enumerate(params)]
    torch.testing.assert_close(found, expected, **tolerance(dtype))


# Trees --------------------------------------------------------------------------------------


class Pair(NamedTuple):
    """A node that is neither a dict nor a list."""

    first: object
    second: object


tensors = st.builds(
    lambda shape, seed: torch.randn(shape, generator=torch.Generator().manual_seed(seed)),
    st.lists(st.integers(0, 3), max_size=2),
    st.integers(0, 1000),
)
trees = st.recursive(
    tensors | st.none(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from("abcd"), inner, max_size=3)
        | st.tuples(inner, inner)
        | st.builds(Pair, inner, inner)
    ),
    max_leaves=6,
).filter(lambda tree: tree is not None)  # that is `params` not given


def _map(function, *trees):
    return optree.tree_map(
        lambda *x: None if x[0] is None else function(*x), *trees, none_is_leaf=True
    )


def _leaves(tree):
    return [x for x in optree.tree_leaves(tree, none_is_leaf=True) if x is not None]


@given(params=trees, name=st.sampled_from(sorted(RULES)), inplace=st.booleans())
@quick
def test_a_tree_is_treated_as_its_leaves(params, name, inplace):
    rule = RULES[name]()
    grads = _map(torch.cos, params)
    given_before = copy.deepcopy((params, grads))
    state = rule.init(params)
    kept = copy.deepcopy(state)
    updates, after = rule.update(grads, state, params, inplace=inplace)
    updates, after = rule.update(grads, after, params, inplace=inplace)
    new = apply_updates(params, updates, inplace=False)
    # The same structure, the values of a flat list, and nothing that was given has changed.
    assert optree.tree_structure(new, none_is_leaf=True) == optree.tree_structure(
        params, none_is_leaf=True
    )
    flat_params, flat_grads = _leaves(params), _leaves(grads)
    flat_state = rule.init(flat_params)
    _, flat_state = rule.update(flat_grads, flat_state, flat_params)
    flat_updates, flat_state = rule.update(flat_grads, flat_state, flat_params)
    torch.testing.assert_close(_leaves(updates), list(flat_updates), rtol=0, atol=0)
    torch.testing.assert_close(tuple(after), tuple(flat_state), rtol=0, atol=0)
    torch.testing.assert_close(_leaves((params, grads)), _leaves(given_before), rtol=0, atol=0)
    torch.testing.assert_close(tuple(state), tuple(kept), rtol=0, atol=0)
    # In place: the same values, in the same tensors.
    same = apply_updates(params, updates, inplace=True)
    assert all(a is b for a, b in zip(_leaves(same), _leaves(params)))
    torch.testing.assert_close(_leaves(params), _leaves(new), rtol=0, atol=0)


def test_apply_updates_in_place_makes_no_graph_and_out_of_place_does():
    param, update = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    assert apply_updates([param], [update], inplace=False)[0].grad_fn is not None
    assert apply_updates([param], [update])[0] is param and param.is_leaf


@pytest.mark.parametrize(
    "wrong", [torch.ones(2), torch.ones(2, device="meta")], ids=["cast", "device"]
)
def test_updates_that_a_parameter_cannot_hold_leave_all_as_they_are(wrong):
    params = [torch.zeros(2), torch.zeros(2, dtype=torch.int64)]
    with pytest.raises(ValueError, match=r"^`updates` must be like the parameter"):
        apply_updates(params, [torch.ones(2), wrong])
    assert params[0].tolist() == [0.0, 0.0]


@rules
def test_the_state_of_another_rule_is_refused(name):
    rule, params = RULES[name](), [torch.ones(2)]
    kinds = {type(make().init(params)): make() for make in RULES.values()}
    own = type(rule.init(params))
    assert own in kinds and len(kinds) > 8
    for kind, other in kinds.items():
        if kind is not own:
            with pytest.raises(TypeError, match=rf"^`state` must be of this rule, {own.__name__}"):
                rule.update(params, other.init(params), params)


def test_a_rule_is_a_pair_too():
    init, update = metaphys.sgd(0.5)
    assert update([torch.ones(1)], init([torch.zeros(1)]))[0][0].tolist() == [-0.5]


WRONG_TREES = {
    "params": lambda rule, s, g: rule.update(g, s, {"a": g["a"]}),
    "grads": lambda rule, s, g: rule.update({"a": g["a"]}, s),
    "grads ": lambda rule, s, g: rule.update({"a": g["a"], "b": "text"}, s),
    "updates": lambda rule, s, g: apply_updates(g, {"a": g["a"]}),
    "updates ": lambda rule, s, g: apply_updates(g, {"a": g["a"], "b": torch.ones(5)}),
    "params ": lambda rule, s, g: rule.init({"a": 1.0}),
}


@pytest.mark.parametrize("argument", WRONG_TREES)
def test_trees_that_do_not_fit_are_named(argument):
    rule = metaphys.adam(0.1)
    grads = {"a": torch.ones(2), "b": torch.ones(3)}
    state = rule.init(grads)
    with pytest.raises((ValueError, TypeError), match=f"^`{argument.strip()}` must"):
        WRONG_TREES[argument](rule, state, grads)
    assert all(bool((g == 1).all()) for g in grads.values())


def test_weight_decay_needs_the_parameters():
    for rule in (metaphys.sgd(0.1, weight_decay=0.1), metaphys.adamw(0.1)):
        with pytest.raises(ValueError, match=r"^`params` must be given when weight_decay"):
            rule.update([torch.ones(1)], rule.init([torch.ones(1)]))


# Hyper-parameters ---------------------------------------------------------------------------

unit = st.floats(0.0, 0.999)
positive = st.floats(0.0, 10.0)


@given(lr=positive, momentum=unit, dampening=unit, weight_decay=unit, maximize=st.booleans())
@quick
def test_sgd_over_its_whole_range(lr, momentum, dampening, weight_decay, maximize):
    hyper = {"momentum": momentum, "dampening": dampening, "weight_decay": weight_decay}
    params, grads = _problem(torch.float64, missing=False)
    found = stateful(metaphys.sgd(lr, **hyper, maximize=maximize), params, grads[:3])
    make = lambda p: torch.optim.SGD(p, lr=lr, **hyper, maximize=maximize)  # noqa: E731
    torch.testing.assert_close(found, stateful(None, params, grads[:3], make=make))


@given(lr=positive, b1=unit, b2=unit, eps=st.floats(1e-10, 1.0), weight_decay=unit)
@quick
def test_adam_over_its_whole_range(lr, b1, b2, eps, weight_decay):
    hyper = {"betas": (b1, b2), "eps": eps, "weight_decay": weight_decay}
    params, grads = _problem(torch.float64, missing=False)
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
    params, grads = _problem(torch.float64, missing=False)
    for name, (peer, own) in table.items():
        found = FORMS["functional"](getattr(metaphys, name)(**common, **own), params, grads[:7])
        make = lambda p, peer=peer, own=own: peer(p, **common, **own)  # noqa: E731
        expected = stateful(None, params, grads[:7], make=make)
        torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-7)


@given(lr=st.floats(0.0, 1.0), a=unit, b=unit, c=unit, eps=st.floats(1e-8, 1.0), decay=unit)
@settings(quick, max_examples=10)
def test_rules_that_torch_lacks_over_their_whole_range(lr, a, b, c, eps, decay):
    params, grads = _problem(torch.float64, missing=False)
    table = {
        metaphys.lion(lr, (a, b), decay): lambda p, g: plain_lion(p, g, lr, a, b, decay),
        metaphys.adan(lr, (a, b, c), eps, decay): lambda p, g: plain_adan(
            p, g, lr, (a, b, c), eps, decay
        ),
        metaphys.muon(lr, decay, a): lambda p, g: plain_muon(p, g, lr, decay, a),
        metaphys.rmsprop(lr, a, eps, momentum=b + 1e-3, initial_scale=c, nesterov=True): (
            lambda p, g: plain_rmsprop(p, g, lr, a, eps, b + 1e-3, c)
        ),
    }
    for rule, equation in table.items():
        found = FORMS["functional"](rule, params, grads[:4])
        expected = [equation(p, [each[i] for each in grads[:4]]) for i, p in enumerate(params)]
        torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-7)


@given(params=trees, name=st.sampled_from(sorted(RULES)), steps=st.integers(0, 2))
@quick
def test_a_state_of_any_tree_goes_through_a_file(params, name, steps):
    rule, grads = RULES[name](), _map(torch.cos, params)
    state = rule.init(params)
    for _ in range(steps):
        _, state = rule.update(grads, state, params)
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    named = metaphys.utils.named_tensors(state)
    expected = rule.update(grads, state, params)
    for other in (
        torch.load(file, weights_only=True),
        metaphys.utils.from_named_tensors(named, like=rule.init(params)),
        pickle.loads(pickle.dumps(state)),
    ):
        assert type(other) is type(state)
        found = rule.update(grads, other, params)
        torch.testing.assert_close(_leaves(found), _leaves(expected), rtol=0, atol=0)


NAN, INF = float("nan"), float("inf")
OUT_OF_RANGE = {
    "lr": [-0.1, NAN, INF, -1, "0.1", None, True, [0.1, -0.1], {"a": -1.0}],
    "momentum": [-0.1, NAN, "x", [0.9], torch.ones(2)],
    "dampening": [NAN, INF, "x"],
    "weight_decay": [-1e-9, NAN, None, torch.ones(2)],
    "nesterov": [1, "yes"],
    "maximize": [1, None],
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
}
REFUSALS = [
    (rule, argument, value)
    for rule, arguments in {
        metaphys.sgd: ("lr", "momentum", "dampening", "weight_decay", "nesterov", "maximize"),
        metaphys.adam: ("lr", "betas", "betas[0]", "betas[1]", "eps", "eps_root", "weight_decay",
                        "maximize"),
        metaphys.adamw: ("lr", "betas[0]", "eps", "weight_decay", "mask", "amsgrad"),
        metaphys.rmsprop: ("lr", "alpha", "eps", "weight_decay", "momentum", "centered",
                           "initial_scale", "nesterov", "maximize"),
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


def _numbers(function):
    """The arguments of a rule that are numbers, and a wrong value for each entry of each."""
    for name, parameter in inspect.signature(function).parameters.items():
        default = 0.1 if name == "lr" else parameter.default
        if isinstance(default, tuple):
            for index in range(len(default)):
                wrong = tuple(NAN if i == index else each for i, each in enumerate(default))
                yield name, f"{name}[{index}]", wrong
        elif isinstance(default, float):
            yield name, name, NAN


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_every_number_of_every_rule_is_looked_at(function):
    checked = 0
    for name, shown, wrong in _numbers(function):
        with pytest.raises(ValueError, match=f"^{re.escape(f'`{shown}`')} must be finite"):
            function(**{"lr": 0.1, name: wrong})
        checked += 1
    assert checked >= 3


@given(value=st.floats(max_value=-1e-300, allow_nan=False))
@quick
def test_anything_negative_is_refused(value):
    rules = (metaphys.sgd, metaphys.adam, metaphys.rmsprop)
    for rule, argument in (*((each, "lr") for each in rules), (metaphys.adam, "eps")):
        with pytest.raises(ValueError, match=f"^`{argument}` must"):
            rule(**{"lr": 0.1, argument: value})


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


# Meta-gradients -----------------------------------------------------------------------------

START = torch.tensor([0.4, -0.9, 1.3, 0.2], dtype=torch.float64)
TARGET = torch.tensor([0.8, 0.1, -0.5, 1.2], dtype=torch.float64)


def _inner(params, x):
    w, b = params["w"], params["b"]
    return (torch.sin(w * x[:3]) ** 2).sum() + (w.sum() * b - x[3]).pow(2) + 0.1 * (w**4).sum()


def _outer(rule, x, start=START, steps=8):
    """A loss after some steps, of data ``x`` and the start: everything a meta-gradient is of."""
    params = {"w": start[:3] * 1.0, "b": start[3] * 1.0}
    state = rule.init(params)
    for _ in range(steps):
        with torch.enable_grad():
            values = {k: v if v.requires_grad else v.requires_grad_() for k, v in params.items()}
            grads = torch.autograd.grad(_inner(values, x), list(values.values()), create_graph=True)
        updates, state = rule.update(dict(zip(values, grads)), state, values)
        params = apply_updates(values, updates, inplace=False)
    return (params["w"] - TARGET[:3]).pow(2).sum() + params["b"].cos()


# RAdam turns adaptive at the sixth step. Ascending a quartic leaves the reals before that.
STEPS = {"sgd-maximize": 5}


@rules
@pytest.mark.parametrize("of", ["data", "start"])
def test_meta_gradient_against_central_differences(name, of):
    def loss(z):
        given = (z, START) if of == "data" else (TARGET, z)
        return _outer(RULES[name](), *given, steps=STEPS.get(name, 8))

    z = (TARGET if of == "data" else START).clone().requires_grad_()
    found = torch.autograd.grad(loss(z), z)[0]
    expected = torch.tensor([slope(loss, z.detach(), direction) for direction in torch.eye(4)])
    # Nothing of the data comes through Lion's signs: there both are exactly 0.
    assert (found - expected).norm() <= 1e-7 * expected.norm()


@rules
def test_second_order_outer_derivative(name):
    weights = torch.tensor([1.0, -2.0, 0.5, 1.5])

    def along(z):
        z = z.detach().requires_grad_()
        with torch.enable_grad():
            value = _outer(RULES[name](), z, steps=STEPS.get(name, 8))
            return torch.autograd.grad(value, z, create_graph=True)[0] @ weights, z

    value, z = along(TARGET)
    # Lion's first derivative is a constant: no graph leads to it.
    found = torch.autograd.grad(value, z)[0] if value.requires_grad else torch.zeros(4)
    for direction in torch.eye(4):
        expected = slope(lambda z: along(z)[0].detach(), TARGET, direction)
        assert float(found @ direction) == pytest.approx(expected, rel=1e-6, abs=1e-7)


LEARNED = {
    "sgd-lr": (lambda v: metaphys.sgd(v), 0.05),
    "sgd-lr-momentum": (lambda v: metaphys.sgd(v, momentum=0.9), 0.05),
    "sgd-lr-schedule": (lambda v: metaphys.sgd(lambda t: v * 0.9**t), 0.05),
    "sgd-lr-tree": (lambda v: metaphys.sgd({"w": v, "b": 2 * v}, momentum=0.5), 0.05),
    "sgd-lr-entries": (
        lambda v: metaphys.sgd({"w": v * torch.tensor([1.0, 2.0, 0.5]), "b": v}), 0.05
    ),
    "sgd-momentum": (lambda v: metaphys.sgd(0.05, momentum=v), 0.8),
    "sgd-nesterov": (lambda v: metaphys.sgd(0.05, momentum=v, nesterov=True), 0.8),
    "sgd-dampening": (lambda v: metaphys.sgd(0.05, momentum=0.9, dampening=v), 0.3),
    "sgd-decay": (lambda v: metaphys.sgd(0.05, weight_decay=v), 0.3),
    "adam-lr": (lambda v: metaphys.adam(v), 0.05),
    "adam-lr-tree": (lambda v: metaphys.adam({"w": v, "b": 3.0 * v}), 0.05),
    "adam-b1": (lambda v: metaphys.adam(0.05, betas=(v, 0.99)), 0.8),
    "adam-b2": (lambda v: metaphys.adam(0.05, betas=(0.9, v)), 0.9),
    "adam-eps": (lambda v: metaphys.adam(0.05, eps=v), 0.1),
    "adam-eps-root": (lambda v: metaphys.adam(0.05, eps_root=v), 0.1),
    "adam-decay": (lambda v: metaphys.adam(0.05, weight_decay=v), 0.3),
    "adamw-decay": (lambda v: metaphys.adamw(0.05, weight_decay=v), 0.3),
    "adamw-lr": (lambda v: metaphys.adamw(v, weight_decay=0.5), 0.05),
    "adam-amsgrad-b2": (lambda v: metaphys.adam(0.05, (0.9, v), amsgrad=True), 0.9),
    "rmsprop-lr": (lambda v: metaphys.rmsprop(v, initial_scale=0.1), 0.02),
    "rmsprop-alpha": (lambda v: metaphys.rmsprop(0.01, v, centered=True), 0.9),
    "rmsprop-eps": (lambda v: metaphys.rmsprop(0.02, eps=v), 0.1),
    "rmsprop-momentum": (lambda v: metaphys.rmsprop(0.01, momentum=v, nesterov=True), 0.5),
    "rmsprop-scale": (lambda v: metaphys.rmsprop(0.02, initial_scale=v), 0.3),
    "adagrad-decay": (lambda v: metaphys.adagrad(0.1, lr_decay=v), 0.2),
    "adagrad-start": (lambda v: metaphys.adagrad(0.1, initial_accumulator_value=v), 0.5),
    "adadelta-rho": (lambda v: metaphys.adadelta(rho=v, eps=1e-3), 0.8),
    "adadelta-eps": (lambda v: metaphys.adadelta(0.1, eps=v), 0.1),
    "adamax-b1": (lambda v: metaphys.adamax(0.05, betas=(v, 0.9)), 0.8),
    "adamax-b2": (lambda v: metaphys.adamax(0.05, betas=(0.9, v)), 0.7),
    "radam-b1": (lambda v: metaphys.radam(0.02, betas=(v, 0.99)), 0.8),
    "radam-b2": (lambda v: metaphys.radam(0.02, betas=(0.9, v)), 0.9),
    "radam-decay": (
        lambda v: metaphys.radam(v, weight_decay=v, decoupled_weight_decay=True), 0.02
    ),
    "nadam-b1": (lambda v: metaphys.nadam(0.05, betas=(v, 0.99)), 0.8),
    "nadam-momentum-decay": (lambda v: metaphys.nadam(0.05, momentum_decay=v), 0.3),
    "lion-lr-decay": (lambda v: metaphys.lion(v, weight_decay=v), 0.05),
    "adan-b1": (lambda v: metaphys.adan(0.05, betas=(v, 0.8, 0.9)), 0.9),
    "adan-b2": (lambda v: metaphys.adan(0.05, betas=(0.9, v, 0.9)), 0.8),
    "adan-b3": (lambda v: metaphys.adan(0.05, betas=(0.9, 0.8, v)), 0.9),
    "adan-decay": (lambda v: metaphys.adan(0.05, weight_decay=v), 0.3),
    "adamw-both": (lambda v: metaphys.adamw(v, weight_decay=v), 0.1),
}  # fmt: skip


@pytest.mark.parametrize("name", LEARNED)
def test_learned_hyper_parameters_against_central_differences(name):
    make, at = LEARNED[name]
    value = torch.tensor(at, requires_grad=True)
    first = torch.autograd.grad(_outer(make(value), TARGET), value, create_graph=True)[0]
    expected = slope(lambda v: _outer(make(v), TARGET), value.detach(), torch.tensor(1.0))
    assert first.item() == pytest.approx(expected, rel=1e-7)
    second = torch.autograd.grad(first, value)[0].item()

    def derivative(v):
        with torch.enable_grad():
            v = v.detach().requires_grad_()
            return torch.autograd.grad(_outer(make(v), TARGET), v)[0]

    assert second == pytest.approx(slope(derivative, value.detach(), torch.tensor(1.0)), rel=1e-5)


def test_a_rule_under_func_and_compile():
    rule = metaphys.adam(0.1)

    def after(x):
        params = {"w": START[:3] * 1.0, "b": START[3] * 1.0}
        state = rule.init(params)
        for _ in range(2):
            grads = torch.func.grad(_inner)(params, x)
            updates, state = rule.update(grads, state, params)
            params = apply_updates(params, updates, inplace=False)
        return params["w"].pow(2).sum() + params["b"]

    x = TARGET.clone().requires_grad_()
    expected = torch.autograd.grad(after(x), x)[0]
    torch.testing.assert_close(torch.func.grad(after)(TARGET), expected)
    torch.testing.assert_close(torch.func.jacfwd(after)(TARGET), expected)
    batch = torch.stack([TARGET, TARGET + 0.1])
    torch.testing.assert_close(torch.func.vmap(torch.func.grad(after))(batch)[0], expected)
    compiled = torch.compile(torch.func.grad(after), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(TARGET), expected)


@rules
def test_kernel_reference_and_batch_are_the_same(name, monkeypatch):
    # Compiled: test_a_step_compiles_without_graph_breaks in test_leafwise.py, ops/test_fused.py.
    steps = min(3, STEPS.get(name, 3))

    def outer(x):
        rule, params = RULES[name](), {"w": START[:3] * 1.0, "b": START[3] * 1.0}
        state = rule.init(params)
        for _ in range(steps):
            grads = torch.func.grad(_inner)(params, x)
            updates, state = rule.update(grads, state, params)
            params = apply_updates(params, updates, inplace=False)
        return (params["w"] - TARGET[:3]).pow(2).sum() + params["b"].cos()

    of = torch.func.grad_and_value(outer)
    native = of(TARGET)
    mapped = torch.func.vmap(of)(torch.stack([TARGET, 0.5 * TARGET]))
    asked = []
    monkeypatch.setattr(
        fused_operators, "wants_reference", lambda *_: bool(asked.append(True)) or True
    )
    monkeypatch.setattr(Fused, "_has_kernel", lambda *_: bool(asked.append(True)))
    reference = of(TARGET)
    torch.testing.assert_close(native, reference, **tolerance(torch.float64))
    torch.testing.assert_close([each[0] for each in mapped], list(native))
    # Rules that are all Python have one form; SGD without momentum is one multiplication.
    assert asked or name in ("sgd", "adam-amsgrad", "adamw-amsgrad", "muon") or "adan" in name


def test_initial_moments_can_be_learned():
    rule = metaphys.sgd(0.1, momentum=0.9, moment_requires_grad=True)
    state = rule.init([torch.zeros(2)])
    updates, _ = rule.update([torch.ones(2)], state)
    (slope_,) = torch.autograd.grad(updates[0].sum(), state.trace)
    torch.testing.assert_close(slope_, torch.full((2,), -0.09))
    assert not metaphys.sgd(0.1, momentum=0.9).init([torch.zeros(2)]).trace[0].requires_grad
