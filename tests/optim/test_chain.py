"""Chains and other rules made of rules: one product over all of them."""

# pyright: reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false
# pyright: reportOptionalSubscript=false, reportIndexIssue=false

from __future__ import annotations

import copy
import io
import pickle

import hypothesis.strategies as st
import optree
import pytest
import torch
from hypothesis import given, settings
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

import metaphys
from metaphys import chain, clip, schedule, transform
from metaphys.meta.adjoint import Checkpoint, Mixed
from tests.composed import COMPOSED, START, TARGET, inner, outer
from tests.tables import FORMS, Leaves, assert_near, functional, slope, stateful

composed = pytest.mark.parametrize("name", COMPOSED)
PICKLED = [name for name in COMPOSED if "own" not in name]  # made of local functions
quick = settings(max_examples=15, deadline=None, derandomize=True)


def _problem(missing=False, steps=8):
    shapes = [(3,), (2, 2), (), (5,)]
    params = [torch.randn(shape) for shape in shapes]
    grads = []
    for step in range(steps):
        absent = {1: [0, 3], 2: [0], 4: [1], 5: [0, 1, 2]}.get(step, []) if missing else []
        grads.append([None if i in absent else torch.randn(s) for i, s in enumerate(shapes)])
    return params, grads


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
    params, grads = _problem(missing)
    theirs = Leaves(params).p
    optimizer = make(theirs)
    for each in grads:
        for param, grad in zip(theirs, each):
            param.grad = None if grad is None else grad.clone()
        before(theirs)
        optimizer.step()
    assert_near(FORMS[form](ours(), params, grads), [p.detach() for p in theirs])


@composed
@pytest.mark.parametrize("missing", [False, True], ids=["all", "some-missing"])
def test_the_forms_agree(name, missing):
    params, grads = _problem(missing)
    expected = functional(COMPOSED[name](), params, grads)
    assert not any(torch.equal(p, q) for p, q in zip(params, expected))
    for form in ("stateful", "meta"):
        assert_near(FORMS[form](COMPOSED[name](), params, grads), expected)


unit = st.floats(0.0, 0.99)


@given(lr=st.floats(1e-3, 1.0), momentum=st.floats(0.01, 0.99), damp=unit, decay=unit)
@quick
def test_a_chain_of_parts_is_the_whole(lr, momentum, damp, decay):
    params, grads = _problem(steps=4)
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


EMPTY = {
    "list": ([], []),
    "dict": ({}, {}),
    "only None": ({"a": None}, {"a": None}),
    "no entries": ([torch.zeros(0, 3), torch.ones(2)], [torch.zeros(0, 3), torch.ones(2)]),
    "no gradient": ([torch.ones(2), torch.ones(3)], [None, None]),
}


@composed
@pytest.mark.parametrize("empty", EMPTY)
def test_where_there_is_little_or_nothing_to_step(name, empty):
    params, grads = EMPTY[empty]
    rule, end = COMPOSED[name](), params
    state = rule.init(params)
    for _ in range(3):
        updates, state = rule.update(grads, state, end)
        end = metaphys.apply_updates(end, updates, inplace=False)
    assert optree.tree_structure(end) == optree.tree_structure(params)
    shapes = [[leaf.shape for leaf in optree.tree_leaves(tree)] for tree in (end, params)]
    assert shapes[0] == shapes[1]
    if empty == "no gradient":
        assert all(torch.equal(a, b) for a, b in zip(end, params))


# Derivatives --------------------------------------------------------------------------------


INPUTS = torch.cat([TARGET, START])


def _of_both(name, steps):
    return lambda z: outer(COMPOSED[name](), z[:4], z[4:], steps=steps)


@composed
def test_meta_gradient_against_central_differences(name):
    loss, z = _of_both(name, 5), INPUTS.clone().requires_grad_()
    found = torch.autograd.grad(loss(z), z)[0]
    for direction in torch.randn(3, 8):
        expected = slope(loss, INPUTS, direction, h=1e-4)
        assert float(found @ direction) == pytest.approx(expected, rel=1e-7, abs=1e-8)


@composed
def test_first_and_second_derivative(name):
    loss, z = _of_both(name, 2), INPUTS.clone().requires_grad_()
    assert torch.autograd.gradcheck(loss, z)
    assert torch.autograd.gradgradcheck(loss, z, atol=1e-4, rtol=1e-4)


@composed
@pytest.mark.parametrize("adjoint", [Checkpoint(2), Mixed(2)], ids=str)
def test_every_adjoint_gives_the_same(name, adjoint):
    x = TARGET.clone().requires_grad_()
    expected = torch.autograd.grad(outer(COMPOSED[name](), x, steps=5), x)[0]
    found = torch.autograd.grad(outer(COMPOSED[name](), x, steps=5, adjoint=adjoint), x)[0]
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


@composed
def test_a_batch_of_tasks_is_its_members(name):
    tasks = torch.stack([TARGET, 0.6 * TARGET])
    batch = torch.func.vmap(torch.func.grad(lambda x: outer(COMPOSED[name](), x, steps=4)))(tasks)
    for task, found in zip(tasks, batch):
        x = task.clone().requires_grad_()
        expected = torch.autograd.grad(outer(COMPOSED[name](), x, steps=4), x)[0]
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


LEARNED = {
    "max_norm": lambda v: chain(metaphys.clip_grad_norm(v), metaphys.sgd(0.05, 0.8)),
    "clip_value": lambda v: chain(clip.clip_grad_value(v), metaphys.sgd(0.05)),
    "agc": lambda v: chain(clip.adaptive_grad_clip(v, 0.1 * v), metaphys.sgd(0.2)),
    "decay": lambda v: chain(transform.add_decayed_weights(v), metaphys.adam(0.05)),
    "mean-decay": lambda v: chain(transform.scale_by_adam(v), transform.scale(-0.1)),
    "momentum": lambda v: chain(transform.trace(v), transform.scale(-0.05)),
    "scale": lambda v: chain(transform.scale_by_rms(0.9, initial_scale=v), transform.scale(-v)),
    "two-rates": lambda v: chain(metaphys.sgd(v), metaphys.sgd(0.3 * v, maximize=True)),
    "slow": lambda v: transform.lookahead(metaphys.sgd(0.05), 2, v),
    "scheduled": lambda v: metaphys.sgd(schedule.warmup_cosine(0.01, 0.1 * v, 2, 8, 0.01 * v)),
    "joined": lambda v: metaphys.sgd(
        schedule.join_schedules(
            [schedule.constant(0.1 * v), metaphys.exponential_decay(0.1, v)], [2]
        )
    ),
    "partition": lambda v: transform.partition(
        {"a": metaphys.sgd(0.1 * v), "b": metaphys.adam(0.1 * v)}, {"b": "a", "w": "b"}
    ),
    "inject": lambda v: transform.inject_hyperparams(metaphys.sgd(0.1 * v, momentum=v)),
    "accumulated": lambda v: transform.accumulate(metaphys.sgd(0.1 * v), 2),
}


@pytest.mark.parametrize("name", LEARNED)
@pytest.mark.parametrize(
    "adjoint", [None, Checkpoint(2), Mixed(2), metaphys.adjoint.Forward()], ids=str
)
def test_learned_hyper_parameters_against_central_differences(name, adjoint):
    value = torch.tensor(0.4, requires_grad=True)
    if isinstance(adjoint, metaphys.adjoint.Forward) and name in ("scale", "inject"):
        with pytest.raises(ValueError, match="`state` too"):  # which depends on the value
            outer(LEARNED[name](value), TARGET, adjoint=adjoint)
        return
    found = torch.autograd.grad(outer(LEARNED[name](value), TARGET, adjoint=adjoint), value)[0]
    expected = slope(
        lambda v: outer(LEARNED[name](v), TARGET), value.detach(), torch.tensor(1.0), h=3e-4
    )
    assert abs(expected) > 1e-4
    assert found.item() == pytest.approx(expected, rel=1e-7)


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


@pytest.mark.parametrize("name", PICKLED)
@pytest.mark.parametrize("how", ["pickle", "deepcopy", "copy"])
def test_a_copy_of_a_rule_is_equal(name, how):
    rule = COMPOSED[name]()
    copies = {
        "pickle": lambda x: pickle.loads(pickle.dumps(x)),
        "deepcopy": copy.deepcopy,
        "copy": copy.copy,
    }
    other = copies[how](rule)
    assert other == rule and hash(other) == hash(rule)
    params, grads = _problem(steps=3)
    assert_near(functional(other, params, grads), functional(rule, params, grads))


@composed
def test_a_state_is_saved_and_loaded_without_pickled_code(name):
    params, grads = _problem(steps=2)
    rule = COMPOSED[name]()
    state = rule.init(params)
    _, state = rule.update(grads[0], state, params)
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=True)
    for other in (loaded, pickle.loads(pickle.dumps(state)), copy.deepcopy(state)):
        assert type(other) is type(state)
        expected, found = (rule.update(grads[1], each, params)[0] for each in (state, other))
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


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
    params, grads = _problem(missing=True, steps=3)
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
    params, grads = _problem()
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


@composed
def test_an_optimizers_state_goes_on_from_a_file(name):
    params, grads = _problem(missing=True)
    module = Leaves(params)
    optimizer = metaphys.Optimizer(module.p, COMPOSED[name]())

    def step(optimizer, module, each):
        for param, grad in zip(module.p, each):
            param.grad = grad
        optimizer.step()

    for each in grads[:5]:
        step(optimizer, module, each)
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    other = Leaves([p.detach() for p in module.p])
    loaded = metaphys.Optimizer(other.p, COMPOSED[name]())
    kept = torch.load(file, weights_only=True)
    loaded.load_state_dict(kept)
    for each in grads[5:]:
        step(optimizer, module, each)
        step(loaded, other, each)
    torch.testing.assert_close(list(other.p), list(module.p), rtol=0, atol=0)


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


@composed
def test_a_meta_optimizer_recovers_its_state(name):
    params, grads = _problem(steps=4)
    module = Leaves(params)
    optimizer = metaphys.MetaOptimizer(module, COMPOSED[name]())

    def run(each):
        loss = torch.stack([(p * g).sum() for p, g in zip(module.p, each)]).sum()
        optimizer.step(loss)

    run(grads[0])
    kept = [metaphys.extract_state_dict(each, by="copy") for each in (module, optimizer)]
    ends = []
    for _ in range(2):
        for target, state in zip((module, optimizer), kept):
            metaphys.recover_state_dict(target, state)
        for each in grads[1:]:
            run(each)
        ends.append([p.detach() for p in module.p])
    torch.testing.assert_close(*ends, rtol=0, atol=0)
    metaphys.stop_gradient(optimizer)
    assert all(t.is_leaf for t in _tensors(optimizer.state_dict()))


def _tensors(tree):
    return [t for t in torch.utils._pytree.tree_leaves(tree) if isinstance(t, torch.Tensor)]


def test_a_meta_optimizer_masks_by_name():
    module = torch.nn.Linear(2, 1)
    mask = {"weight": True, "bias": False}
    rule = chain(transform.masked(metaphys.sgd(1.0), mask), transform.scale(1.0))
    before = module.weight.detach().clone(), module.bias.detach().clone()
    metaphys.MetaOptimizer(module, rule).step(module(torch.ones(1, 2)).sum())
    torch.testing.assert_close(module.weight, before[0] - 1.0)
    torch.testing.assert_close(module.bias, before[1] + 1.0)


def test_stateful_and_functional_are_the_same_in_half_precision():
    params = [torch.randn(4).bfloat16(), torch.randn(2, 2).bfloat16()]
    grads = [[torch.randn_like(p) for p in params] for _ in range(4)]
    for name in ("clip-sgd", "adam-decay-scale", "accumulate", "lookahead", "partition"):
        rule = COMPOSED[name]()
        found = stateful(rule, params, grads)
        assert all(p.dtype is torch.bfloat16 and p.isfinite().all() for p in found)
        assert_near(found, functional(rule, params, grads), torch.bfloat16)


def test_the_inner_problem_is_left_better_than_it_was():
    for name, rule in COMPOSED.items():
        start = {"w": START[:3], "b": START[3]}
        end = metaphys.unroll(inner, rule(), start, steps=20, meta=TARGET)
        assert end.losses[-1] < end.losses[0], name


# Other forms, and zeros ---------------------------------------------------------------------


@composed
def test_a_functional_optimizer_steps_by_it(name):
    params = {"w": START[:3].clone().requires_grad_(), "b": START[3].clone().requires_grad_()}
    optimizer, x = metaphys.FuncOptimizer(COMPOSED[name]()), TARGET.clone().requires_grad_()
    for _ in range(3):
        params = optimizer.step(inner(params, x), params)
    end = metaphys.unroll(inner, COMPOSED[name](), {"w": START[:3], "b": START[3]}, steps=3, meta=x)
    assert_near(params["w"], end.params["w"])
    found, expected = (torch.autograd.grad(p["w"].sum(), x)[0] for p in (params, end.params))
    assert_near(found, expected)


@composed
def test_a_meta_optimizer_goes_on_from_an_optimizer(name):
    params, grads = _problem(steps=4)
    module = Leaves(params)
    optimizer = metaphys.Optimizer(module.p, COMPOSED[name]())
    for each in grads[:2]:
        for param, grad in zip(module.p, each):
            param.grad = grad
        optimizer.step()
    meta = metaphys.MetaOptimizer.from_torch(optimizer, module)
    for each in grads[2:]:
        meta.step(torch.stack([(p * g).sum() for p, g in zip(module.p, each)]).sum())
    expected = functional(COMPOSED[name](), params, grads)
    assert_near([p.detach() for p in module.p], expected)


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


@composed
def test_where_nothing_pulls_the_meta_gradient_is_finite(name):
    zero = torch.zeros(4, requires_grad=True)  # here every inner gradient is exactly 0
    x = TARGET.clone().requires_grad_()
    loss = outer(COMPOSED[name](), x, zero, steps=2)
    for found in torch.autograd.grad(loss, (zero, x)):
        assert found.isfinite().all()
