"""Rules made of rules: one product over all of them, forms, adjoints and files."""

# pyright: reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false
# pyright: reportOptionalSubscript=false, reportIndexIssue=false

from __future__ import annotations

import copy
import io
import pickle

import optree
import pytest
import torch

import metaphys
from metaphys import chain, clip, schedule, transform
from metaphys.meta.adjoint import Checkpoint, Mixed
from tests.composed import COMPOSED, START, TARGET, inner, outer, problem
from tests.tables import FORMS, Leaves, assert_near, functional, slope, stateful

composed = pytest.mark.parametrize("name", COMPOSED)
PICKLED = [name for name in COMPOSED if "own" not in name]  # made of local functions


# Forms ---------------------------------------------------------------------------------------


@composed
@pytest.mark.parametrize("missing", [False, True], ids=["all", "some-missing"])
def test_the_forms_agree(name, missing):
    params, grads = problem(missing)
    expected = functional(COMPOSED[name](), params, grads)
    assert not any(torch.equal(p, q) for p, q in zip(params, expected))
    for form in ("stateful", "meta"):
        assert_near(FORMS[form](COMPOSED[name](), params, grads), expected)


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


def test_stateful_and_functional_are_the_same_in_half_precision():
    params = [torch.randn(4).bfloat16(), torch.randn(2, 2).bfloat16()]
    grads = [[torch.randn_like(p) for p in params] for _ in range(4)]
    for name in ("clip-sgd", "adam-decay-scale", "accumulate", "lookahead", "partition"):
        rule = COMPOSED[name]()
        found = stateful(rule, params, grads)
        assert all(p.dtype is torch.bfloat16 and p.isfinite().all() for p in found)
        assert_near(found, functional(rule, params, grads), torch.bfloat16)


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
    params, grads = problem(steps=4)
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


def test_the_inner_problem_is_left_better_than_it_was():
    for name, rule in COMPOSED.items():
        start = {"w": START[:3], "b": START[3]}
        end = metaphys.unroll(inner, rule(), start, steps=20, meta=TARGET)
        assert end.losses[-1] < end.losses[0], name


# Derivatives ---------------------------------------------------------------------------------


INPUTS = torch.cat([TARGET, START])


def _of_both(name, steps):
    return lambda z: outer(COMPOSED[name](), z[:4], z[4:], steps=steps)


@composed
def test_meta_gradient_against_central_differences(name):
    loss, z = _of_both(name, 5), INPUTS.clone().requires_grad_()
    found = torch.autograd.grad(loss(z), z)[0]
    assert found.abs().amax() > 1e-3  # so that the tests below do not compare zeros
    for direction in torch.randn(3, 8):
        expected = slope(loss, INPUTS, direction, h=1e-4)
        assert float(found @ direction) == pytest.approx(expected, rel=1e-7, abs=1e-8)


@composed
def test_first_and_second_derivative(name):
    loss, z = _of_both(name, 2), INPUTS.clone().requires_grad_()
    assert torch.autograd.gradcheck(loss, z)
    assert torch.autograd.gradgradcheck(loss, z, atol=1e-4, rtol=1e-4)


@composed
def test_where_nothing_pulls_the_meta_gradient_is_finite(name):
    zero = torch.zeros(4, requires_grad=True)  # here every inner gradient is exactly 0
    x = TARGET.clone().requires_grad_()
    loss = outer(COMPOSED[name](), x, zero, steps=2)
    for found in torch.autograd.grad(loss, (zero, x)):
        assert found.isfinite().all()


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


# Copies and files ----------------------------------------------------------------------------


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
    params, grads = problem(steps=3)
    assert_near(functional(other, params, grads), functional(rule, params, grads))


@composed
def test_a_state_is_saved_and_loaded_without_pickled_code(name):
    params, grads = problem(steps=2)
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


@composed
def test_an_optimizers_state_goes_on_from_a_file(name):
    params, grads = problem(missing=True)
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


@composed
def test_a_meta_optimizer_recovers_its_state(name):
    params, grads = problem(steps=4)
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
