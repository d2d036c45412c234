"""Rules stated for one leaf: derivatives, zero gradients, vmap, compile, and their switches."""

# pyright: reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false
# pyright: reportOptionalSubscript=false, reportUnusedExpression=false

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

import metaphys
from metaphys.optim._leafwise import Leafwise
from tests.tables import ONE_OF_EACH, RULES, SHARED, assert_near, state_of

LEAFWISE = [name for name in RULES if isinstance(RULES[name]().core, Leafwise)]
SHAPES = ((1, 2), ())
# Values a state may have: square sums and norms are positive, and above the mean's square.
POSITIVE = ("nu", "max_nu", "total", "delta", "norm")


def _states(rule, shapes=SHAPES, dtype=torch.float64):
    """A state in mid-course, with a leaf before and one after RAdam's switch."""
    state = rule.init([torch.zeros(shape, dtype=dtype) for shape in shapes])
    fields = {}
    for name, kept in state._asdict().items():
        if name == "count":
            fields[name] = torch.tensor([1, 6])
        elif name == "product":
            fields[name] = tuple(0.2 + 0.3 * torch.rand_like(each) for each in kept)
        elif name in POSITIVE:
            fields[name] = tuple(1.0 + torch.rand_like(each) for each in kept)
        else:
            fields[name] = tuple(0.3 * torch.randn_like(each) for each in kept)
    return type(state)(**fields)


def _step(rule, state, n):
    """One step as a function of gradients, parameters and moments, and values for these."""
    counts = [len(kept) for kept in state[1:]]

    def function(*tensors):
        grads, params, rest = tensors[:n], tensors[n : 2 * n], list(tensors[2 * n :])
        fields = [tuple(rest.pop(0) for _ in range(count)) for count in counts]
        updates, after = rule.update(list(grads), type(state)(state.count, *fields), list(params))
        return (*updates, *(each for kept in after[1:] for each in kept))

    return function, [each for kept in state[1:] for each in kept]


def _function(name):
    rule = RULES[name]()
    function, moments = _step(rule, _states(rule), len(SHAPES))
    values = [torch.randn(shape) for _ in range(2) for shape in SHAPES]
    return function, [t.clone().requires_grad_() for t in (*values, *moments)]


@pytest.mark.parametrize("name", RULES)
def test_first_and_second_derivative_of_every_rule(name):
    function, inputs = _function(name)
    assert gradcheck(function, inputs)
    # Only what depends on an input at all: Lion's update does not.
    varying = [out.requires_grad for out in function(*inputs)]
    assert gradgradcheck(lambda *x: [o for o, v in zip(function(*x), varying) if v], inputs)


@pytest.mark.parametrize("name", LEAFWISE)
def test_forward_mode(name):
    function, inputs = _function(name)
    assert gradcheck(function, inputs, check_forward_ad=True, check_backward_ad=False)


# The documented ∂u/∂g of a first step whose gradients are exactly zero.
EPS, B1 = 1e-2, 0.9
MU = [B1 * (1 - 0.5 * 0.96 ** (t * 4e-3)) for t in (1, 2)]
AT_ZERO = {
    "adam": (metaphys.adam(1.0, eps=EPS), 1 / EPS),
    "adam-amsgrad": (metaphys.adam(1.0, eps=EPS, amsgrad=True), 1 / EPS),
    "adamw-amsgrad": (metaphys.adamw(1.0, eps=EPS, amsgrad=True, weight_decay=0.0), 1 / EPS),
    "rmsprop": (metaphys.rmsprop(1.0, eps=EPS), 1 / EPS),
    "rmsprop-centered": (metaphys.rmsprop(1.0, eps=EPS, centered=True), 1 / EPS),
    "rmsprop-momentum": (metaphys.rmsprop(1.0, eps=EPS, momentum=0.5), 1 / EPS),
    "adagrad": (metaphys.adagrad(1.0, eps=EPS), 1 / EPS),
    "adadelta": (metaphys.adadelta(1.0, eps=EPS), 1.0),
    "adamax": (metaphys.adamax(1.0, eps=EPS), 1 / EPS),
    "radam": (metaphys.radam(1.0, eps=EPS), 1.0),
    "nadam": (metaphys.nadam(1.0, eps=EPS), (1 + MU[1] * (1 - B1) / (1 - MU[0] * MU[1])) / EPS),
    "lion": (metaphys.lion(1.0), 0.0),
    "adan": (metaphys.adan(1.0, eps=EPS), 1 / EPS),
}


@pytest.mark.parametrize("name", AT_ZERO)
def test_a_gradient_of_exactly_zero_has_the_documented_derivative(name):
    rule, slope = AT_ZERO[name]
    params = [torch.ones(3)]
    g = torch.tensor([0.0, 2.0, 0.0], requires_grad=True)
    updates, state = rule.update([g], rule.init(params), params)
    assert_near(updates[0][[0, 2]], torch.zeros(2))
    (found,) = torch.autograd.grad(updates[0].sum(), g, retain_graph=True)
    assert_near(found[[0, 2]], torch.full((2,), -slope))
    # After seven steps too, and to the third order, it is finite.
    for _ in range(6):
        updates, state = rule.update([g], state, params)
    value = updates[0].sum() + sum(each.sin().sum() for kept in state[1:] for each in kept)
    for _ in range(3):
        (found,) = torch.autograd.grad(value, g, create_graph=True)
        assert torch.isfinite(found).all()
        value = found.sin().sum() + found.pow(2).sum()
        if not value.requires_grad:
            break


def test_the_default_eps_gives_finite_meta_gradients_at_zero():
    for name in RULES:
        rule, params = RULES[name](), [torch.ones(2)]
        state, g = rule.init(params), torch.zeros(2, requires_grad=True)
        for _ in range(8):
            updates, state = rule.update([g], state, params)
        assert torch.isfinite(torch.autograd.grad(updates[0].sum(), g)[0]).all(), name


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_a_batch_is_its_members(name):
    function, inputs = _function(name)
    inputs = [t.detach() for t in inputs]
    batches = [torch.stack([t, 1.5 * t, 0.8 * t]) for t in inputs]
    weighted = lambda *x: sum(  # noqa: E731
        (i + 1) * out.sin().sum() for i, out in enumerate(function(*x))
    )
    every = tuple(range(len(inputs)))
    for of in (function, torch.func.grad(weighted, argnums=every)):
        found = torch.func.vmap(of)(*batches)
        each = [of(*(batch[i] for batch in batches)) for i in range(3)]
        assert_near(found, tuple(torch.stack(member) for member in zip(*each)))


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_a_step_compiles_without_graph_breaks(name):
    function, inputs = _function(name)
    outer = torch.func.grad(lambda *x: sum(out.sin().sum() for out in function(*x)))
    torch.compiler.reset()  # torch gives up on a frame that it has compiled for eight rules
    compiled = torch.compile(outer, fullgraph=True, backend="aot_eager")
    inputs = [t.detach() for t in inputs]
    assert_near(compiled(*inputs), outer(*inputs))


# Switches -----------------------------------------------------------------------------------


@pytest.mark.parametrize("b2", [0.0, 0.5, 0.6, 0.7, 0.9, 0.999])
def test_radam_is_torchs_for_any_beta(b2):
    # Up to β₂ = 2/3 the variance is never tractable, and above it from some step on.
    beta = torch.tensor(b2, requires_grad=True)
    ours, theirs = torch.ones(3), torch.nn.Parameter(torch.ones(3))
    rule = metaphys.radam(0.1, betas=(0.9, beta), eps=1e-3)
    peer = torch.optim.RAdam([theirs], 0.1, betas=(0.9, b2), eps=1e-3)
    state = rule.init([ours])
    for _ in range(12):
        g = torch.randn(3)
        updates, state = rule.update([g], state)
        ours, theirs.grad = ours + updates[0], g
        peer.step()
        assert_near(ours.detach(), theirs.detach())
    assert torch.isfinite(torch.autograd.grad(ours.sum(), beta)[0])


def test_radam_without_eps_stands_still_where_nothing_pulls():
    rule = metaphys.radam(0.1, eps=0.0)
    g, state = torch.tensor([0.0, 1.0], requires_grad=True), rule.init([torch.ones(2)])
    for _ in range(8):
        updates, state = rule.update([g], state)
        assert float(updates[0][0].detach()) == 0.0
    assert torch.isfinite(torch.autograd.grad(updates[0].sum(), g)[0]).all()


def test_amsgrad_remembers_the_largest_moment():
    rule = metaphys.adam(1.0, betas=(0.0, 0.5), eps=0.0, amsgrad=True)
    state = rule.init([torch.zeros(1)])
    _, state = rule.update([torch.tensor([4.0])], state)
    updates, state = rule.update([torch.tensor([1.0])], state)
    # v = 8, then 4.5: the root is that of 8 / (1 - 0.5²).
    assert_near(updates[0], -torch.tensor([1.0 / (8 / 0.75) ** 0.5]))
    assert not metaphys.adam(1.0).init([torch.zeros(1)]).max_nu


def test_rmsprops_momentum_may_begin_and_end_between_steps():
    p = torch.nn.Parameter(torch.zeros(1))
    optimizer = metaphys.RMSprop([p], lr=1.0, alpha=0.0, eps=0.0)
    moves = []
    for momentum in (0.0, 0.5, 0.5, 0.0):
        optimizer.param_groups[0]["momentum"] = momentum
        p.grad, before = torch.ones(1), p.detach().clone()
        optimizer.step()
        moves.append(float((before - p).detach()))
    assert moves == [1.0, 1.0, 1.5, 1.0]


@pytest.mark.parametrize("name", ["rmsprop", "adagrad-decay", "nadam", "adan"])
def test_gradients_that_do_not_fit_are_refused(name):
    rule = RULES[name]()
    state = rule.init([torch.zeros(3)])
    for wrong in (torch.ones(2), torch.ones(3, 3), torch.ones(3, dtype=torch.int64)):
        with pytest.raises(ValueError, match=r"must be"):
            rule.update([wrong], state, [wrong])


@pytest.mark.parametrize("name", ONE_OF_EACH)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_dtypes_of_updates_and_moments(name, dtype):
    # Hyper-parameters that are float64 tensors must not widen a 0-d leaf.
    rule = RULES[name]()
    hyper = {k: torch.tensor(v) if type(v) is float else v for k, v in rule.hyper.items()}
    rule = metaphys.Rule(rule.core, hyper)
    params = [torch.ones(shape, dtype=dtype) for shape in SHAPES]
    updates, state = rule.update(params, rule.init(params), params)
    assert all(u.dtype is dtype for u in updates)
    moments = [each for kept in state[1:] for each in kept]
    assert all(m.dtype is state_of(dtype) and m.shape in SHAPES for m in moments)


@pytest.mark.parametrize("name", ["rmsprop-centered", "nadam", "adan-decay"])
def test_initial_state_can_be_learned(name):
    rule = RULES[name]()
    rule = metaphys.Rule(rule.core, {**rule.hyper, "moment_requires_grad": True})
    params = [torch.ones(2)]
    state = rule.init(params)
    updates, after = rule.update([torch.ones(2)], state, params)
    moments = [each for kept in state[1:] for each in kept]
    total = updates[0].sum() + sum(each.sum() for kept in after[1:] for each in kept)
    found = torch.autograd.grad(total, moments, allow_unused=True)
    assert all(m.is_leaf for m in moments) and any(f is not None and f.any() for f in found)


def test_every_shared_rule_has_torchs_arguments():
    for ours, theirs, given in SHARED.values():
        assert set(given) <= set(ours().hyper), theirs
