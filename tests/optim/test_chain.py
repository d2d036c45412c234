"""Chains: against torch, against the rule that they are the parts of, and what they are made of."""

# pyright: reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false
# pyright: reportOptionalSubscript=false, reportIndexIssue=false

from __future__ import annotations

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

import metaphys
from metaphys import chain, clip, transform
from tests.composed import problem
from tests.tables import FORMS, Leaves, assert_near, functional

quick = settings(max_examples=15, deadline=None, derandomize=True)


# Against torch ------------------------------------------------------------------------------

TORCH = {
    "clip-sgd": (
        lambda: chain(metaphys.clip_grad_norm(1.3), metaphys.sgd(0.1, 0.9)),
        lambda p: torch.optim.SGD(p, 0.1, 0.9),
        lambda p: clip_grad_norm_(p, 1.3),
    ),
    "clip-1-adam": (
        lambda: chain(metaphys.clip_grad_norm(2.0, 1), metaphys.adam(0.1)),
        lambda p: torch.optim.Adam(p, 0.1),
        lambda p: clip_grad_norm_(p, 2.0, 1),
    ),
    "clip-3-adamw": (
        lambda: chain(metaphys.clip_grad_norm(0.5, 3.0), metaphys.adamw(0.1)),
        lambda p: torch.optim.AdamW(p, 0.1),
        lambda p: clip_grad_norm_(p, 0.5, 3.0),
    ),
    "clip-max-rmsprop": (
        lambda: chain(metaphys.clip_grad_norm(0.5, float("inf")), metaphys.rmsprop(0.1)),
        lambda p: torch.optim.RMSprop(p, 0.1),
        lambda p: clip_grad_norm_(p, 0.5, float("inf")),
    ),
    "value-sgd": (
        lambda: chain(clip.clip_grad_value(0.4), metaphys.sgd(0.1)),
        lambda p: torch.optim.SGD(p, 0.1),
        lambda p: clip_grad_value_(p, 0.4),
    ),
    "parts-of-sgd": (
        lambda: chain(
            transform.add_decayed_weights(0.2),
            transform.trace(0.9, nesterov=True),
            transform.scale(-0.1),
        ),
        lambda p: torch.optim.SGD(p, 0.1, 0.9, weight_decay=0.2, nesterov=True),
        lambda p: None,
    ),
    "parts-of-adamw": (
        lambda: chain(
            transform.scale_by_adam(), transform.add_decayed_weights(0.2), transform.scale(-0.1)
        ),
        lambda p: torch.optim.AdamW(p, 0.1, weight_decay=0.2),
        lambda p: None,
    ),
}


@pytest.mark.parametrize("name", TORCH)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("missing", [False, True], ids=["all", "some-missing"])
def test_steps_are_those_of_torch(name, form, missing):
    ours, make, before = TORCH[name]
    params, grads = problem(missing)
    theirs = Leaves(params).p
    optimizer = make(theirs)
    for each in grads:
        for param, grad in zip(theirs, each):
            param.grad = None if grad is None else grad.clone()
        before(theirs)
        optimizer.step()
    assert_near(FORMS[form](ours(), params, grads), [p.detach() for p in theirs])


unit = st.floats(0.0, 0.99)


@given(lr=st.floats(1e-3, 1.0), momentum=st.floats(0.01, 0.99), damp=unit, decay=unit)
@quick
def test_a_chain_of_parts_is_the_whole(lr, momentum, damp, decay):
    params, grads = problem(steps=4)
    parts = {
        "sgd": (
            chain(transform.add_decayed_weights(decay), transform.trace(momentum, damp)),
            metaphys.sgd(lr, momentum, damp, decay),
        ),
        "adam": (
            chain(transform.add_decayed_weights(decay), transform.scale_by_adam(momentum, 0.9)),
            metaphys.adam(lr, (momentum, 0.9), weight_decay=decay),
        ),
        "adamw": (
            chain(transform.scale_by_adam(momentum, 0.9), transform.add_decayed_weights(decay)),
            metaphys.adamw(lr, (momentum, 0.9), weight_decay=decay),
        ),
        "rmsprop": (
            chain(transform.scale_by_rms(momentum, 1e-3), transform.trace(damp)),
            metaphys.rmsprop(lr, momentum, 1e-3, momentum=damp),
        ),
        "adadelta": (transform.scale_by_adadelta(momentum), metaphys.adadelta(lr, momentum)),
        "adamax": (transform.scale_by_adamax(momentum), metaphys.adamax(lr, (momentum, 0.999))),
        "radam": (transform.scale_by_radam(momentum), metaphys.radam(lr, (momentum, 0.999))),
        "adagrad": (
            transform.scale_by_rss(decay, 1e-3),
            metaphys.adagrad(lr, initial_accumulator_value=decay, eps=1e-3),
        ),
        "centered": (
            transform.scale_by_stddev(momentum, 1e-3),
            metaphys.rmsprop(lr, momentum, 1e-3, centered=True),
        ),
    }
    for part, whole in parts.values():
        found = functional(chain(part, transform.scale(-lr)), params, grads)
        torch.testing.assert_close(found, functional(whole, params, grads), rtol=1e-9, atol=1e-11)


# What a chain is ----------------------------------------------------------------------------


def test_chains_are_flat_and_identities_left_out():
    a, b, c = metaphys.clip_grad_norm(1.0), transform.trace(), transform.scale(-0.1)
    flat = chain(a, b, c)
    same = [chain(chain(a, b), c), chain(a, chain(b, c)), a.chain(b).chain(c)]
    same += [chain(metaphys.identity(), a, b, chain(), c), metaphys.optim.chain_flat(a, b, c)]
    for other in same:
        assert other == flat and hash(other) == hash(flat)
    assert chain(a) == a and chain() == metaphys.identity()
    assert len(flat.init([torch.zeros(2)])) == 3
    assert chain.flat is metaphys.chain_flat is metaphys.combine.chain_flat


def test_the_rules_that_a_chain_is_made_of():
    parts = metaphys.clip_grad_norm(1.0), transform.trace(), transform.scale(-0.1)
    whole = chain(*parts)
    assert whole.transformations == parts and chain(*whole.transformations) == whole
    assert parts[0].transformations == parts[:1]
    base = metaphys.base
    for rule in (whole, parts[0], metaphys.adam(), chain(), metaphys.identity().chain(chain())):
        assert isinstance(rule, base.ChainedGradientTransformation)
        identity = isinstance(rule, base.IdentityGradientTransformation)
        assert identity == (rule == metaphys.identity())


WITHOUT_STATE = {
    "clip": lambda: metaphys.clip_grad_norm(1.0),
    "scale": lambda: transform.scale(-0.1),
    "decay": lambda: transform.add_decayed_weights(0.1),
    "nan_to_num": metaphys.nan_to_num,
    "hook": lambda: metaphys.register_hook(metaphys.zero_nan_hook),
    "identity": metaphys.identity,
}


@pytest.mark.parametrize("name", WITHOUT_STATE)
@pytest.mark.parametrize("state", [None, metaphys.base.EmptyState()], ids=["None", "empty"])
def test_what_keeps_only_the_steps_needs_no_state(name, state):
    rule = WITHOUT_STATE[name]()
    params = {"w": torch.randn(3), "none": None, "b": torch.randn(2)}
    grads = {"w": torch.randn(3), "none": None, "b": None}
    found, after = rule.update(grads, state, params)
    expected, _ = rule.update(grads, rule.init(params), params)
    torch.testing.assert_close(found["w"], expected["w"])
    assert found["b"] is None and after.count.tolist() == [0, 1]  # by name: b, w
    assert rule.update(grads, after, params)[1].count.tolist() == [0, 2]


@pytest.mark.parametrize("state", [None, {"count": 1}, [], torch.zeros(1)], ids=str)
def test_what_is_no_state_is_refused(state):
    for rule in (metaphys.sgd(0.1, 0.9), chain(metaphys.clip_grad_norm(1.0), metaphys.adam(0.1))):
        with pytest.raises(TypeError, match=r"^`state` must be what `init`"):
            rule.update([torch.ones(1)], state, [torch.ones(1)])


def test_rules_are_equal_by_value():
    rate = torch.tensor([0.1, 0.2])
    assert metaphys.sgd(0.1) == metaphys.sgd(0.1) != metaphys.sgd(0.2)
    assert metaphys.adam(0.1) != metaphys.adamw(0.1)
    assert metaphys.sgd({"w": rate}) == metaphys.sgd({"w": rate.clone()})
    assert metaphys.sgd({"w": rate}) != metaphys.sgd({"w": 2 * rate})
    assert metaphys.sgd({"w": rate}) != metaphys.sgd({"v": rate})
    assert metaphys.sgd(0.1) != "sgd"
    assert len({metaphys.sgd(0.1), metaphys.sgd(0.1), metaphys.adam(0.1)}) == 2


def test_hyper_parameters_have_their_names_where_they_can():
    rule = chain(metaphys.clip_grad_norm(1.0), metaphys.sgd(0.1), transform.scale(0.5))
    assert {"max_norm", "lr", "momentum", "step_size"} <= set(rule.hyper)
    twice = chain(metaphys.sgd(0.1), metaphys.sgd(0.2), transform.accumulate(rule, 2))
    assert (twice.hyper["0.lr"], twice.hyper["1.lr"], twice.hyper["2.lr"]) == (0.1, 0.2, 0.1)
    assert twice.hyper["every"] == 2
    deep = chain(transform.masked(twice), twice)
    assert len(deep.hyper) == 2 * len(twice.hyper) + 1
    rules = {"a": metaphys.sgd(0.3), "b": metaphys.adam(0.4)}
    parted = transform.partition(rules, ["a", "b"])
    assert (parted.hyper["a.lr"], parted.hyper["b.lr"]) == (0.3, 0.4)


def test_a_wrong_hyper_parameter_is_refused_by_its_own_name():
    rule = chain(metaphys.sgd(0.1), metaphys.sgd(0.2))
    with pytest.raises(ValueError, match="`lr` must be >= 0"):
        metaphys.Rule(rule.core, {**rule.hyper, "1.lr": -0.1})
    with pytest.raises(TypeError, match="`rules` must be a rule"):
        chain(metaphys.sgd(0.1), "adam")


def test_the_parts_of_a_chain_keep_the_state_of_what_has_no_gradient():
    rule = chain(transform.trace(0.5), transform.scale_by_adam())
    params, grads = problem(missing=True, steps=3)
    state = rule.init(params)
    for each in grads:
        before = state
        _, state = rule.update(each, state, params)
        for old, new in zip(before, state):
            for i, grad in enumerate(each):
                same = torch.equal(old[1][i], new[1][i])
                assert same == (grad is None) and bool(old.count[i] == new.count[i]) == same


# In an optimizer ----------------------------------------------------------------------------


def test_schedulers_of_torch_see_the_rate_of_a_chain():
    params, grads = problem()
    ours, theirs = Leaves(params).p, Leaves(params).p
    rule = chain(metaphys.clip_grad_norm(1.0), metaphys.adam(0.1))
    pairs = []
    for values, optimizer in (
        (ours, metaphys.Optimizer(ours, rule)),
        (theirs, torch.optim.Adam(theirs, 0.1)),
    ):
        pairs.append((values, optimizer, torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)))
    for each in grads:
        for values, optimizer, scheduler in pairs:
            for param, grad in zip(values, each):
                param.grad = grad.clone()
            if values is theirs:
                clip_grad_norm_(theirs, 1.0)
            optimizer.step()
            scheduler.step()
    assert_near([p.detach() for p in ours], [p.detach() for p in theirs])


def test_a_fused_kernel_is_used_behind_a_transform():
    params = Leaves([torch.randn(3)]).p
    optimizer = metaphys.Optimizer(params, chain(transform.scale(2.0), metaphys.adam(0.1)))
    params[0].grad = torch.ones(3)
    optimizer.step()
    moment = optimizer.state[params[0]]["1.mu"]
    params[0].grad = 2 * torch.ones(3)
    optimizer.step()
    assert optimizer.state[params[0]]["1.mu"] is moment  # written in place
    torch.testing.assert_close(moment, torch.full((3,), 0.9 * 0.2 + 0.4))


def test_a_foreign_state_of_a_chain_is_refused():
    params = Leaves([torch.randn(3)]).p
    optimizer = metaphys.Optimizer(params, chain(transform.trace(0.9), metaphys.adam(0.1)))
    other = metaphys.Optimizer(params, metaphys.adam(0.1))
    params[0].grad = torch.ones(3)
    other.step()
    with pytest.raises(ValueError, match="`state_dict` must be"):
        optimizer.load_state_dict(other.state_dict())
    assert not optimizer.state


def test_groups_have_clips_of_their_own():
    one, two = (torch.nn.Parameter(torch.zeros(2)) for _ in range(2))
    rule = chain(metaphys.clip_grad_norm(1.0), metaphys.sgd(1.0))
    optimizer = metaphys.Optimizer([{"params": one}, {"params": two, "max_norm": 2.0}], rule)
    for param in (one, two):
        param.grad = torch.tensor([30.0, 40.0])
    optimizer.step()
    torch.testing.assert_close(one.data, torch.tensor([-0.6, -0.8]), rtol=1e-6, atol=0)
    torch.testing.assert_close(two.data, torch.tensor([-1.2, -1.6]), rtol=1e-6, atol=0)


# In a meta-optimizer ------------------------------------------------------------------------


def test_a_meta_optimizer_masks_by_name():
    module = torch.nn.Linear(2, 1)
    mask = {"weight": True, "bias": False}
    rule = chain(transform.masked(metaphys.sgd(1.0), mask), transform.scale(1.0))
    before = module.weight.detach().clone(), module.bias.detach().clone()
    metaphys.MetaOptimizer(module, rule).step(module(torch.ones(1, 2)).sum())
    torch.testing.assert_close(module.weight, before[0] - 1.0)
    torch.testing.assert_close(module.bias, before[1] + 1.0)


def test_groups_of_a_meta_optimizer_have_options_of_a_chain():
    module = torch.nn.Linear(2, 1)
    before = module.weight.detach().clone(), module.bias.detach().clone()
    rule = chain(metaphys.clip_grad_norm(1e-3), metaphys.sgd(1.0))
    optimizer = metaphys.MetaOptimizer(module, rule)
    optimizer.add_param_group(module, params=["bias"], lr=2.0, max_norm=9.0)
    optimizer.step(3.0 * module(torch.ones(1, 2)).sum())
    torch.testing.assert_close(module.bias, before[1] - 6.0)
    torch.testing.assert_close(
        (module.weight - before[0]).norm(), torch.tensor(1e-3), rtol=1e-6, atol=0
    )
