"""A user's own pair of functions: in every form, on the tree that the form has."""

# pyright: reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false
# pyright: reportOptionalMemberAccess=false

from __future__ import annotations

import pytest
import torch

import metaphys
from metaphys import GradientTransformation, chain, transform
from tests.composed import START, TARGET, inner, own_momentum
from tests.tables import FORMS, assert_near, slope


@pytest.mark.parametrize("form", FORMS)
def test_it_is_the_rule_that_it_states(form):
    params = [torch.randn(3), torch.randn(2, 2)]
    grads = [[torch.randn_like(p) for p in params] for _ in range(5)]
    grads[2][0] = None
    expected = FORMS[form](metaphys.sgd(0.05, 0.8), params, grads)
    assert_near(FORMS[form](own_momentum(), params, grads), expected)
    clipped = [metaphys.clip_grad_norm(0.5), transform.add_decayed_weights(0.1)]
    expected = FORMS[form](chain(*clipped, metaphys.sgd(0.05, 0.8)), params, grads)
    assert_near(FORMS[form](chain(*clipped, own_momentum()), params, grads), expected)


def by_name(rates):
    """Needs its tree as it is: a rate for each name."""

    def init(params):
        assert params is None or set(params) == {"w", "b", "c"}
        return {name: torch.zeros_like(p) for name, p in params.items() if p is not None}

    def update(grads, state, params):
        assert params["c"] is None and grads["c"] is None
        state = {name: kept + grads[name] for name, kept in state.items()}
        return {"c": None, **{name: -rates[name] * state[name] for name in state}}, state

    return GradientTransformation(init, update)


@pytest.mark.parametrize("wrapped", [False, True])
def test_it_sees_the_tree_of_the_functional_forms(wrapped):
    rates = {"w": 0.05, "b": torch.tensor(0.1)}
    rule = by_name(rates)
    if wrapped:
        rule = transform.accumulate(chain(transform.scale(1.0), rule), 1)
    params = {"c": None, "w": START[:3], "b": START[3]}

    def loss(params, meta):
        return inner(params, meta)

    x = TARGET.clone().requires_grad_()
    for adjoint in (metaphys.adjoint.Full(), metaphys.adjoint.Checkpoint(2)):
        end = metaphys.unroll(loss, rule, params, steps=4, meta=x, adjoint=adjoint)
        found = torch.autograd.grad(end.params["w"].sum(), x)[0]

        def outer(x, adjoint=adjoint):
            return (
                metaphys.unroll(loss, rule, params, steps=4, meta=x, adjoint=adjoint)
                .params["w"]
                .sum()
            )

        for direction in torch.eye(4):
            expected = slope(outer, TARGET, direction)
            assert float(found @ direction) == pytest.approx(expected, rel=1e-7)


def test_arguments_that_a_function_does_not_have_are_not_given():
    seen = []

    def two(grads, state):
        seen.append("two")
        return grads, state

    def any_named(grads, state, **named):
        seen.append(sorted(named))
        return grads, state

    params = [torch.zeros(1)]
    for update in (two, any_named):
        rule = GradientTransformation(lambda params: (), update)
        rule.update([torch.ones(1)], rule.init(params), params)
    assert seen == ["two", ["inplace", "params"]]


WRONG = {
    "structure": lambda grads, state: (grads[:1], state),
    "shape": lambda grads, state: ([g.sum() for g in grads], state),
    "kind": lambda grads, state: ([None for _ in grads], state),
}


@pytest.mark.parametrize("name", WRONG)
def test_updates_that_do_not_fit_are_refused(name):
    rule = GradientTransformation(lambda params: (), WRONG[name])
    grads = [torch.ones(2), torch.ones(3)]
    with pytest.raises(ValueError, match="`update` must be a function that gives"):
        rule.update(grads, rule.init(grads))


def test_what_is_no_function_is_refused():
    with pytest.raises(TypeError, match="`update` must be a function"):
        GradientTransformation(lambda params: (), 3)


def test_a_number_that_changes_in_the_state_is_refused_in_an_unroll():
    def update(grads, state):
        return [-0.1 / (1 + state["t"]) * g for g in grads], {"t": state["t"] + 1}

    rule = GradientTransformation(lambda params: {"t": 0}, update)
    start = [torch.ones(2)]
    loss = lambda params, _: params[0].square().sum()  # noqa: E731
    with pytest.raises(ValueError, match="`state` must"):
        metaphys.unroll(loss, rule, start, steps=3)
    state = rule.init(start)  # where nothing is flattened it is as good as a tensor
    for rate in (0.1, 0.05):
        updates, state = rule.update(start, state)
        torch.testing.assert_close(updates[0], torch.full((2,), -rate))


def test_in_groups_each_has_a_state_of_its_own():
    one, two = (torch.nn.Parameter(torch.zeros(2)) for _ in range(2))
    optimizer = metaphys.Optimizer([{"params": [one]}, {"params": [two]}], own_momentum(1.0, 0.5))
    for step in range(2):
        one.grad, two.grad = torch.ones(2), None if step == 0 else torch.ones(2)
        optimizer.step()
    assert one.tolist() == [-2.5, -2.5] and two.tolist() == [-1.0, -1.0]


def test_every_rule_is_a_gradient_transformation():
    assert isinstance(metaphys.sgd(0.1), GradientTransformation)
    assert isinstance(own_momentum(), metaphys.Rule)
    assert metaphys.base.GradientTransformation is GradientTransformation
