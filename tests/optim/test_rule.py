"""Rules on trees: against torch.optim and the papers, in any tree, and what must never change."""

# pyright: reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false
# pyright: reportOptionalSubscript=false, reportUnusedExpression=false

from __future__ import annotations

import copy
import inspect
import io
import pickle
from typing import NamedTuple

import hypothesis.strategies as st
import optree
import pytest
import torch
from hypothesis import given, settings

import metaphys
from metaphys import apply_updates
from tests.tables import (
    EQUATIONS,
    FORMS,
    ONE_OF_EACH,
    RULES,
    TORCH,
    stateful,
    ten_steps,
    tolerance,
)

rules = pytest.mark.parametrize("name", RULES)
few = settings(max_examples=6, deadline=None, derandomize=True)
ONE_BY_ONE = ("sgd-momentum", "adamw", *ONE_OF_EACH)

# Against torch.optim ------------------------------------------------------------------------


@pytest.mark.parametrize("name", TORCH)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("missing", [False, True], ids=["all", "some-missing"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_ten_steps_are_those_of_torch(name, form, missing, dtype):
    params, grads = ten_steps(dtype, missing)
    found = FORMS[form](RULES[name](), params, grads)
    expected = stateful(None, params, grads, make=TORCH[name])
    assert all(f.dtype is dtype for f in found)
    torch.testing.assert_close(found, expected, **tolerance(dtype))


@pytest.mark.parametrize("name", TORCH)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_keeps_its_moments_in_float32(name, form, dtype):
    params, grads = ten_steps(dtype, missing=True)
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
    params, grads = ten_steps(torch.float64, missing=True)
    results = [FORMS[form](RULES[name](), params, grads) for form in FORMS]
    for result in results[1:]:
        torch.testing.assert_close(result, results[0], **tolerance(torch.float64))


@pytest.mark.parametrize("name", EQUATIONS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_ten_steps_are_those_of_the_paper(name, dtype):
    params, grads = ten_steps(dtype, missing=False)
    ours, equation = EQUATIONS[name]
    found = FORMS["functional"](ours(), params, grads)
    expected = [equation(p, [each[i] for each in grads]) for i, p in enumerate(params)]
    torch.testing.assert_close(found, expected, **tolerance(dtype))


# What is compared elsewhere: masks in test_optimizer.py; it changes no value; it has no meaning.
NOT_IN_THE_TABLE = {"mask", "moment_requires_grad", "use_accelerated_op"}


@pytest.mark.parametrize("name", metaphys.alias.__all__)
def test_every_option_of_every_rule_is_compared_with_torch_or_the_paper(name):
    function = getattr(metaphys, name)
    compared = [RULES[row]() for row in {**TORCH, **EQUATIONS}]
    rows = [rule.hyper for rule in compared if rule.core == function(lr=0.1).core]
    for option, parameter in inspect.signature(function).parameters.items():
        if option not in NOT_IN_THE_TABLE:
            assert any(row[option] != parameter.default for row in rows), option


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


@pytest.mark.parametrize("name", ONE_BY_ONE)
@given(params=trees, inplace=st.booleans())
@few
def test_a_tree_is_treated_as_its_leaves(name, params, inplace):
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


WRONG_GRADIENTS = {
    "integers": lambda g: g.to(torch.int64),
    "bools": lambda g: g > 0,
    "complex": lambda g: g + 1j,
    "sparse": lambda g: g.to_sparse(),
    "a row": lambda g: g[:1],
    "a number": lambda g: g.sum(),
    "more": lambda g: torch.cat([g, g]),
}


@rules
@pytest.mark.parametrize("wrong", WRONG_GRADIENTS)
def test_gradients_unlike_the_parameters_are_refused(name, wrong):
    # Else some would be broadcast by weight decay, and others fail in the depth.
    rule, params = RULES[name](), [torch.ones(1), torch.ones(2, 3)]
    grads = [torch.ones(1), WRONG_GRADIENTS[wrong](torch.randn(2, 3))]
    with pytest.raises(ValueError, match=r"^`grads\[1\]` must be"):
        rule.update(grads, rule.init(params), params)


@pytest.mark.parametrize("inplace", [False, True])
def test_parameters_keep_their_dtype(inplace):
    params = [torch.ones(2, dtype=torch.bfloat16), torch.ones(2, dtype=torch.float32)]
    rule = metaphys.sgd(0.5)
    updates, _ = rule.update([torch.ones(2), torch.ones(2)], rule.init(params), params)
    assert [u.dtype for u in updates] == [torch.float64] * 2
    new = apply_updates(params, updates, inplace=inplace)
    assert [p.dtype for p in new] == [torch.bfloat16, torch.float32]
    assert all(p.tolist() == [0.5, 0.5] for p in new)


def test_weight_decay_needs_the_parameters():
    for rule in (metaphys.sgd(0.1, weight_decay=0.1), metaphys.adamw(0.1)):
        with pytest.raises(ValueError, match=r"^`params` must be given when weight_decay"):
            rule.update([torch.ones(1)], rule.init([torch.ones(1)]))


@pytest.mark.parametrize("name", ONE_BY_ONE)
@given(params=trees, steps=st.integers(0, 2))
@few
def test_a_state_of_any_tree_goes_through_a_file(name, params, steps):
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
