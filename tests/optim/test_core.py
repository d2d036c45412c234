"""Meta-gradients of every rule and by every learned number, against differences of the values."""

# pyright: reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false
# pyright: reportOptionalSubscript=false, reportUnusedExpression=false

from __future__ import annotations

import pytest
import torch

import metaphys
from metaphys import apply_updates
from metaphys.ops import _fused as fused_operators
from metaphys.optim._fused import Fused
from tests.composed import START, TARGET, inner
from tests.tables import (
    RULES,
    slope,
    tolerance,
)

rules = pytest.mark.parametrize("name", RULES)


def _outer(rule, x, start=START, steps=8):
    """A loss after some steps, of data ``x`` and the start: everything a meta-gradient is of."""
    params = {"w": start[:3] * 1.0, "b": start[3] * 1.0}
    state = rule.init(params)
    for _ in range(steps):
        with torch.enable_grad():
            values = {k: v if v.requires_grad else v.requires_grad_() for k, v in params.items()}
            grads = torch.autograd.grad(inner(values, x), list(values.values()), create_graph=True)
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
    "sgd-lr-schedule-tree": (
        lambda v: metaphys.sgd({"w": metaphys.schedule.exponential_decay(v, 0.5, 2), "b": v}), 0.05
    ),
    "flatten-lr-tree": (
        lambda v: metaphys.transform.flatten(metaphys.adam({"w": v, "b": 3.0 * v}, betas=(v, 0.9))),
        0.05,
    ),
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
            grads = torch.func.grad(inner)(params, x)
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
            grads = torch.func.grad(inner)(params, x)
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
    all_python = any(part in name for part in ("amsgrad", "muon", "adan"))
    assert asked or name == "sgd" or all_python


def test_initial_moments_can_be_learned():
    rule = metaphys.sgd(0.1, momentum=0.9, moment_requires_grad=True)
    state = rule.init([torch.zeros(2)])
    updates, _ = rule.update([torch.ones(2)], state)
    (slope_,) = torch.autograd.grad(updates[0].sum(), state.trace)
    torch.testing.assert_close(slope_, torch.full((2,), -0.09))
    assert not metaphys.sgd(0.1, momentum=0.9).init([torch.zeros(2)]).trace[0].requires_grad
