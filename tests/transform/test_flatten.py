"""A rule on one vector: the same numbers as the rule on every parameter."""

# pyright: reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false

from __future__ import annotations

import pytest
import torch

import metaphys
from metaphys import transform
from tests.composed import START, TARGET, inner, own_momentum
from tests.tables import DTYPES, FORMS, RULES, assert_near, functional, ten_steps

flatten = transform.flatten
ENTRYWISE = [name for name in RULES if "muon" not in name]


@pytest.mark.parametrize("missing", [False, True], ids=["all", "some-missing"])
@pytest.mark.parametrize("name", ENTRYWISE)
def test_it_is_the_rule_itself(name, missing):
    params, grads = ten_steps(torch.float64, missing)
    expected = functional(RULES[name](), params, grads)
    assert not any(torch.equal(p, q) for p, q in zip(params, expected))
    assert_near(functional(flatten(RULES[name]()), params, grads), expected)


@pytest.mark.parametrize("form", FORMS)
def test_parameters_that_never_have_a_gradient_stay(form):
    params, grads = ten_steps(torch.float64, True)
    grads = [[None, *each[1:]] for each in grads]
    found = FORMS[form](flatten(metaphys.adam(0.1)), params, grads)
    assert torch.equal(found[0], params[0])
    assert_near(found, FORMS[form](metaphys.adam(0.1), params, grads))


def test_each_dtype_has_a_vector():
    params = [torch.randn(2, 3, dtype=dtype) for dtype in (*DTYPES, torch.float64)]
    rule = flatten(metaphys.adam(0.1))
    state = rule.init(params)
    assert [tuple(mu.shape) for mu in state.held["inner"].mu] == [(12,), (6,), (6,), (6,)]
    updates, state = rule.update(params, state, params)
    plain = metaphys.adam(0.1)
    expected, _ = plain.update(params, plain.init(params), params)
    assert [u.dtype for u in updates] == [p.dtype for p in params]
    assert all(torch.equal(u, v) for u, v in zip(updates, expected))


RATES = {
    "numbers": lambda: {"w": 0.1, "b": 0.3},
    "tensors": lambda: {
        "w": torch.rand(3, dtype=torch.float64, requires_grad=True),
        "b": torch.rand((), dtype=torch.float64, requires_grad=True),
    },
    "schedules": lambda: {"w": metaphys.schedule.exponential_decay(0.1, 0.5, 1), "b": 0.2},
}


@pytest.mark.parametrize("name", RATES)
def test_rates_of_parameters_become_rates_of_entries(name):
    start, lr = {"b": START[3], "w": START[:3]}, RATES[name]()
    ends = [
        metaphys.unroll(inner, rule, start, steps=4, meta=TARGET).params
        for rule in (metaphys.adam(lr), flatten(metaphys.adam(lr)))
    ]
    assert_near(ends[0]["w"], ends[1]["w"])
    if name == "tensors":
        inputs = list(lr.values())
        found, expected = (torch.autograd.grad(end["w"].sin().sum(), inputs) for end in ends)
        assert all(g.abs().amax() > 1e-3 for g in found)
        assert_near(found, expected)


def test_one_rate_of_the_shape_of_every_parameter():
    lr = torch.tensor([0.1, 0.2], dtype=torch.float64, requires_grad=True)
    grads = [torch.ones(2).double(), torch.ones(3, 2).double()]
    rule = flatten(metaphys.sgd(lr))
    updates, _ = rule.update(grads, rule.init(grads))
    assert_near(updates, [-lr, -lr.expand(3, 2)])
    assert_near(torch.autograd.grad(updates[1].sum(), lr)[0], torch.full((2,), -3.0).double())


def test_tasks_in_vmap_and_a_compiled_unroll():
    tasks = torch.stack([TARGET, TARGET.flip(0)])

    def end(x, **how):
        start = {"b": START[3], "w": START[:3]}
        rule = flatten(metaphys.adam(0.1))
        return metaphys.unroll(inner, rule, start, steps=3, meta=x, **how).params["w"]

    together = torch.func.vmap(end)(tasks)
    assert_near(together, torch.stack([end(x) for x in tasks]))
    x = TARGET.clone().requires_grad_()
    compiled, plain = (end(x, **how) for how in ({"compile": True, "backend": "aot_eager"}, {}))
    assert_near(compiled, plain)
    found, expected = (torch.autograd.grad(w.sum(), x)[0] for w in (compiled, plain))
    assert_near(found, expected)


# Misuse ---------------------------------------------------------------------------------------


def test_a_mask_inside_is_refused():
    rule = flatten(metaphys.adamw(0.1, mask=[True, False]))
    params = [torch.ones(2), torch.ones(3)]
    with pytest.raises(ValueError, match=r"`mask` must be one for all.*around flatten"):
        rule.update(params, rule.init(params), params)


def test_own_functions_need_all_gradients():
    params = [torch.ones(2), torch.ones(3, 2)]
    rule, plain = flatten(own_momentum(0.1)), own_momentum(0.1)
    assert_near(functional(rule, params, [params] * 2), functional(plain, params, [params] * 2))
    with pytest.raises(ValueError, match=r"`grads` must be a gradient for every.*masked"):
        rule.update([None, params[1]], rule.init(params), params)


def test_what_the_rule_inside_refuses_is_refused():
    with pytest.raises(TypeError, match="`inner` must be a rule"):
        flatten(metaphys.adam)
    grads = [torch.ones(2, dtype=torch.complex64)]
    rule = flatten(metaphys.sgd(0.1))
    with pytest.raises(ValueError, match=r"`grads\[0\]` must be dense, and float32"):
        rule.update(grads, rule.init(grads))
