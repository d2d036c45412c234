"""Schedules: against torch.optim.lr_scheduler, against their formulas, and their derivatives."""

# pyright: reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false

from __future__ import annotations

import copy
import math
import pickle

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch.optim import lr_scheduler
from torch.utils import _pytree
from torch.utils._python_dispatch import TorchDispatchMode

import metaphys
from metaphys import schedule
from metaphys.meta.adjoint import Checkpoint, Full, Mixed

STEPS = 30
quick = settings(max_examples=30, deadline=None, derandomize=True)


def _values(of, steps=STEPS):
    return [float(of(torch.tensor(t))) for t in range(steps)]


def _torchs(make, steps=STEPS):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    scheduler, values = make(optimizer), []
    for _ in range(steps):
        values.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return values


TORCH = {
    "linear": (
        metaphys.linear_schedule(0.03, 0.3, 8),
        lambda o: lr_scheduler.LinearLR(o, 0.1, 1.0, 8),
    ),
    "polynomial": (
        metaphys.polynomial_schedule(0.3, 0.0, 2.5, 12),
        lambda o: lr_scheduler.PolynomialLR(o, 12, 2.5),
    ),
    "constant": (
        schedule.join_schedules([schedule.constant(0.1), schedule.constant(0.3)], [5]),
        lambda o: lr_scheduler.ConstantLR(o, 1 / 3, 5),
    ),
    "exponential": (
        metaphys.exponential_decay(0.3, 0.9),
        lambda o: lr_scheduler.ExponentialLR(o, 0.9),
    ),
    "staircase": (
        metaphys.exponential_decay(0.3, 0.5, transition_steps=7, staircase=True),
        lambda o: lr_scheduler.StepLR(o, 7, 0.5),
    ),
    "piecewise": (
        schedule.piecewise_constant(0.3, {20: 0.1, 4: 0.1, 9: 0.1}),
        lambda o: lr_scheduler.MultiStepLR(o, [4, 9, 20], 0.1),
    ),
    "restarts": (
        schedule.cosine_restarts(0.3, 7, end_value=0.01),
        lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 7, 1, 0.01),
    ),
    "longer-restarts": (
        schedule.cosine_restarts(0.3, 3, 2),
        lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 3, 2),
    ),
    "one-cycle": (
        schedule.one_cycle(0.3, STEPS),
        lambda o: lr_scheduler.OneCycleLR(o, 0.3, STEPS, cycle_momentum=False),
    ),
    "one-cycle-late": (
        schedule.one_cycle(0.3, STEPS, 0.75, 10.0, 100.0),
        lambda o: lr_scheduler.OneCycleLR(
            o, 0.3, STEPS, pct_start=0.75, div_factor=10.0, final_div_factor=100.0,
            cycle_momentum=False,
        ),
    ),
    "warm-up-then-exponential": (
        schedule.join_schedules(
            [metaphys.linear_schedule(0.03, 0.3, 5), metaphys.exponential_decay(0.3, 0.9)], [5]
        ),
        lambda o: lr_scheduler.SequentialLR(
            o, [lr_scheduler.LinearLR(o, 0.1, 1.0, 5), lr_scheduler.ExponentialLR(o, 0.9)], [5]
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TORCH)
def test_values_are_those_of_torch(name):
    ours, make = TORCH[name]
    steps = STEPS - 1  # one behind the last is an error in OneCycleLR
    assert _values(ours, steps) == pytest.approx(_torchs(make, steps), rel=1e-9, abs=1e-12)


def test_cosine_is_torchs_up_to_its_end_and_stays_there():
    ours = _values(schedule.cosine_decay(0.3, 12, 0.05))
    theirs = _torchs(lambda o: lr_scheduler.CosineAnnealingLR(o, 12, 0.05))
    assert ours[:13] == pytest.approx(theirs[:13], rel=1e-9)  # torch goes up again
    assert ours[12:] == [0.05] * (STEPS - 12)


FORMULAS = {
    "polynomial": (
        lambda a, b: metaphys.polynomial_schedule(a, b, 3, 10, 4),
        lambda a, b, t: b + (a - b) * (1 - min(max(t - 4, 0), 10) / 10) ** 3,
    ),
    "no-transition": (lambda a, b: metaphys.linear_schedule(a, b, 0, 3), lambda a, b, t: a),
    "exponential-begin": (
        lambda a, b: metaphys.exponential_decay(a, b, 3, 4),
        lambda a, b, t: a * b ** (max(t - 3, 0) / 4),
    ),
    "exponential-still": (
        lambda a, b: metaphys.exponential_decay(a, b, 3, 0),
        lambda a, b, t: a,
    ),
    "exponential-end": (
        lambda a, b: metaphys.exponential_decay(a, b, 0, 2, end_value=0.4),
        lambda a, b, t: (max if b < 1 else min)(a * b ** (t / 2), 0.4),
    ),
    "warmup-cosine": (
        lambda a, b: schedule.warmup_cosine(a, b, 4, 12, 0.1),
        lambda a, b, t: (
            a + (b - a) * t / 4
            if t < 4
            else 0.1 + (b - 0.1) * (1 + math.cos(math.pi * min((t - 4) / 8, 1))) / 2
        ),
    ),
    "warmup-none": (
        lambda a, b: schedule.warmup_cosine(a, b, 0, 8),
        lambda a, b, t: b * (1 + math.cos(math.pi * min(t / 8, 1))) / 2,
    ),
    "piecewise": (
        lambda a, b: schedule.piecewise_constant(a, {3: b, 5: b}),
        lambda a, b, t: a * b ** ((t >= 3) + (t >= 5)),
    ),
}


@given(a=st.floats(0.01, 3.0), b=st.floats(0.01, 1.5), t=st.integers(0, 40))
@quick
def test_values_are_those_of_the_formulas(a, b, t):
    for name, (make, formula) in FORMULAS.items():
        expected = formula(a, b, t)
        assert float(make(a, b)(t)) == pytest.approx(expected, rel=1e-9, abs=1e-12), name


@given(factor=st.integers(2, 5), period=st.integers(1, 7), cycle=st.integers(0, 7))
@quick
def test_a_cycle_begins_where_it_should(factor, period, cycle):
    rate = schedule.cosine_restarts(1.0, period, factor)
    begin = period * (factor**cycle - 1) // (factor - 1)
    length = period * factor**cycle
    for t in {0, 1, length // 2, length - 1}:
        if t < length:
            expected = 0.5 * (1 + math.cos(math.pi * t / length))
            assert float(rate(begin + t)) == pytest.approx(expected, abs=1e-12)


DIFFERENTIATED = {
    "polynomial": lambda a, b: metaphys.polynomial_schedule(a, b, 1 + a, 10),
    "exponential": lambda a, b: metaphys.exponential_decay(a, b, transition_steps=3),
    "exponential-end": lambda a, b: metaphys.exponential_decay(a, b, 0, 2, end_value=0.3 * a),
    "cosine": lambda a, b: schedule.cosine_decay(a, 8, b),
    "restarts": lambda a, b: schedule.cosine_restarts(a, 3, 2, b),
    "warmup": lambda a, b: schedule.warmup_cosine(b, a, 4, 12, 0.1 * a),
    "one-cycle": lambda a, b: schedule.one_cycle(a, 12, div_factor=1 + a, final_div_factor=2 * b),
    "piecewise": lambda a, b: schedule.piecewise_constant(a, {3: b, 5: b}),
    "joined": lambda a, b: schedule.join_schedules(
        [schedule.constant(a), metaphys.exponential_decay(a, b)], [4]
    ),
    "tabulated": lambda a, b: schedule.tabulated(
        torch.stack([torch.as_tensor(each) for each in (a, a * b, b)])
    ),
}


def test_a_table_has_a_value_for_each_step_and_entry_and_the_last_one_stays():
    values = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    rate = schedule.tabulated(values)
    assert [rate(torch.tensor(t)).tolist() for t in (0, 1, 7)] == [[1, 2], [3, 4], [3, 4]]
    for wrong in (torch.tensor(1.0), torch.empty(0), torch.tensor([1, 2])):
        with pytest.raises(ValueError, match="`values` must be of shape"):
            schedule.tabulated(wrong)
    with pytest.raises(TypeError, match="`values` must be a tensor"):
        schedule.tabulated([0.1, 0.2])
    steps = torch.arange(4)
    mapped = torch.func.vmap(rate)(steps)
    assert mapped.tolist() == [[1, 2], [3, 4], [3, 4], [3, 4]]


@pytest.mark.parametrize("name", DIFFERENTIATED)
def test_parameters_are_differentiated(name):
    def function(a, b):
        rate = DIFFERENTIATED[name](a, b)
        return torch.stack([rate(torch.tensor(t)) for t in (0, 2, 5, 10, 15)])

    inputs = [torch.tensor(x, requires_grad=True) for x in (0.7, 0.4)]
    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


@pytest.mark.parametrize("adjoint", [Checkpoint(2), Mixed(2)], ids=str)
@pytest.mark.parametrize("name", DIFFERENTIATED)
def test_they_are_explicit_inputs_of_an_adjoint(name, adjoint):
    def gradients(adjoint):
        inputs = [torch.tensor(x, requires_grad=True) for x in (0.2, 0.1)]
        rule = metaphys.sgd(DIFFERENTIATED[name](*inputs), momentum=0.5)
        loss = lambda p, _: (p**2).sum() + p.cos().sum()  # noqa: E731
        start = torch.tensor([1.0, -0.4])
        end = metaphys.unroll(loss, rule, start, steps=6, adjoint=adjoint)
        return torch.autograd.grad(end.params.sum(), inputs)

    found, expected = gradients(adjoint), gradients(Full())
    assert all(abs(float(e)) > 1e-6 for e in expected)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


class OneDevice(TorchDispatchMode):
    """Raises where an operator is given tensors of two devices."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Run the operator, unless it mixes devices."""
        tensors = [t for t in _pytree.tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        assert len({t.device for t in tensors}) < 2, f"{func} of {[t.device for t in tensors]}"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("adjoint", [Full(), Checkpoint(2), Mixed(2)], ids=str)
@pytest.mark.parametrize("name", DIFFERENTIATED)
def test_they_may_be_learned_on_another_device_than_the_steps(name, adjoint):
    # Steps are counted on the CPU; the device here has no values, only places.
    inputs = [torch.tensor(x, device="meta").requires_grad_() for x in (0.2, 0.1)]
    start = torch.ones(2, device="meta")
    with OneDevice():
        rule = metaphys.sgd(DIFFERENTIATED[name](*inputs), momentum=0.5)
        end = metaphys.unroll(lambda p, _: (p**2).sum(), rule, start, steps=6, adjoint=adjoint)
        found = torch.autograd.grad(end.params.sum(), inputs)
    assert [each.device.type for each in found] == ["meta", "meta"]


@pytest.mark.parametrize("name", DIFFERENTIATED)
def test_a_schedule_is_data(name):
    a, b = torch.tensor(0.7), torch.tensor(0.4)
    one = DIFFERENTIATED[name](a, b)
    for other in (pickle.loads(pickle.dumps(one)), copy.deepcopy(one)):
        assert _values(other) == _values(one)
        assert metaphys.sgd(other) == metaphys.sgd(one)
    assert metaphys.sgd(DIFFERENTIATED[name](0.5 * a, b)) != metaphys.sgd(one)


def test_a_schedule_is_float64_whatever_the_default():
    torch.set_default_dtype(torch.float32)
    for make in DIFFERENTIATED.values():
        assert make(0.7, 0.4)(torch.tensor(3)).dtype is torch.float64
    assert float(metaphys.exponential_decay(1.0, 0.9)(5)) == pytest.approx(0.9**5, rel=1e-15)


WRONG = {
    "init_value": lambda: metaphys.linear_schedule(float("nan"), 0.1, 3),
    "end_value": lambda: schedule.cosine_decay(1.0, 3, float("inf")),
    "power": lambda: metaphys.polynomial_schedule(1.0, 0.0, 0.0, 3),
    "transition_steps": lambda: metaphys.linear_schedule(1.0, 0.1, -3),
    "transition_begin": lambda: metaphys.exponential_decay(1.0, 0.1, 0.5),
    "decay_rate": lambda: metaphys.exponential_decay(1.0, 0.0),
    "decay_steps": lambda: schedule.warmup_cosine(0.0, 1.0, 5, 5),
    "warmup_steps": lambda: schedule.warmup_cosine(0.0, 1.0, -1, 5),
    "period": lambda: schedule.cosine_restarts(1.0, 0),
    "factor": lambda: schedule.cosine_restarts(1.0, 3, 1.5),
    "pct_start": lambda: schedule.one_cycle(1.0, 10, 1.0),
    "total_steps": lambda: schedule.one_cycle(1.0, 0),
    "div_factor": lambda: schedule.one_cycle(1.0, 10, div_factor=0.0),
    "boundaries": lambda: schedule.join_schedules([schedule.constant(1.0)] * 3, [4, 2]),
    "schedules": lambda: schedule.join_schedules([schedule.constant(1.0)], [4]),
    "boundaries_and_scales": lambda: schedule.piecewise_constant(1.0, {-1: 0.5}),
    "boundaries_and_scales ": lambda: schedule.piecewise_constant(1.0, [2]),
    "boundaries_and_scales  ": lambda: schedule.piecewise_constant(1.0, {"2": 0.5, 3: 0.5}),
    "boundaries_and_scales   ": lambda: schedule.piecewise_constant(1.0, {2: "half"}),
    "schedules ": lambda: schedule.join_schedules(schedule.constant(1.0), []),
    "boundaries ": lambda: schedule.join_schedules([schedule.constant(1.0)], 3),
    "staircase": lambda: metaphys.exponential_decay(1.0, 0.5, staircase=torch.ones(2)),
    "value": lambda: schedule.constant(10**400),
    "value ": lambda: schedule.constant(torch.tensor(1j)),
    "total_steps ": lambda: schedule.one_cycle(1.0, 10**400),
}


@pytest.mark.parametrize("argument", WRONG)
def test_wrong_arguments_are_named(argument):
    with pytest.raises((ValueError, TypeError), match=f"^`{argument.strip()}` must be"):
        WRONG[argument]()
