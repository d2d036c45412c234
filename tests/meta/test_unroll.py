"""The unroll itself: what it gives, how it ends, what it refuses. Its derivatives: adjoint/."""

# Misuse is tested here.
# pyright: reportArgumentType=false

from __future__ import annotations

from collections import OrderedDict, namedtuple
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.func import functional_call, vmap

import metaphys
from metaphys import Status
from metaphys.meta import unroll as door
from metaphys.meta.adjoint import Checkpoint, Full, Mixed
from tests.tables import RULES, assert_near, functional

ADJOINTS = [Full(), Checkpoint(2), Mixed(2)]
adjoints = pytest.mark.parametrize("adjoint", ADJOINTS, ids=str)


def square(params, meta):
    return (params - meta).square().sum()


SGD = metaphys.sgd(lr=0.1)


def test_the_door_is_one():
    assert metaphys.unroll is door


@pytest.mark.parametrize("name", RULES)
def test_it_takes_the_steps_of_the_rule(name):
    start, data = [torch.randn(3), torch.randn(2, 2)], torch.randn(3, 3)

    def loss(params, meta, row):
        return (params[0] * row).sum() + (params[1] * meta).sum()

    end = metaphys.unroll(loss, RULES[name](), start, steps=3, batches=data, meta=3.0)
    expected = functional(RULES[name](), start, [[row, torch.full((2, 2), 3.0)] for row in data])
    assert_near(end.params, expected)
    assert end.losses.shape == (3,) and end.state.count.tolist() == [3, 3]


def test_the_meta_gradient_is_that_of_a_meta_optimizer():
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    start = {name: p.detach().clone().requires_grad_() for name, p in net.named_parameters()}
    x, y = torch.randn(5, 3), torch.randn(5, 2, requires_grad=True)

    def loss(params, y):
        return (functional_call(net, params, x) - y).square().mean()

    end = metaphys.unroll(loss, metaphys.adam(lr=0.1), start, steps=4, meta=y)
    found = torch.autograd.grad(loss(end.params, y), [*start.values(), y])
    leaves = list(net.parameters())
    optimizer = metaphys.MetaOptimizer(net, metaphys.adam(lr=0.1))
    for _ in range(4):
        optimizer.step((net(x) - y).square().mean())
    assert_near(found, torch.autograd.grad((net(x) - y).square().mean(), [*leaves, y]))


Point = namedtuple("Point", ["x", "y"])
ones = partial(torch.ones, dtype=torch.float64)  # made before the fixtures set a default
TREES: dict[str, Any] = {
    "tensor": ones(2),
    "dict": {"b": ones(2), "a": ones(())},
    "ordered": OrderedDict(b=ones(2), a=ones(1)),
    "nested": [(ones(2), None), {"a": [ones(1, 2)]}, None],
    "named": Point(ones(2), ones(3)),
}


@adjoints
@pytest.mark.parametrize("name", TREES)
def test_any_tree(adjoint, name):
    import optree

    def loss(params, meta):
        return sum(leaf.square().sum() for leaf in optree.tree_leaves(params))

    end = metaphys.unroll(loss, SGD, TREES[name], steps=3, adjoint=adjoint, trajectory=True)
    assert_near(end.params, optree.tree_map(lambda leaf: 0.8**3 * leaf, TREES[name]))
    factors = torch.tensor([0.8, 0.64, 0.512])
    expected = optree.tree_map(lambda leaf: torch.stack([f * leaf for f in factors]), TREES[name])
    assert_near(end.trajectory, expected)


@adjoints
def test_rates_by_leaf_masks_and_schedules(adjoint):
    start = {"a": torch.ones(2), "b": torch.ones(3)}
    rates = {"a": torch.tensor(0.1, requires_grad=True), "b": torch.full((3,), 0.2)}
    rule = metaphys.sgd(lr=rates)

    def loss(params, meta):
        return params["a"].sum() + params["b"].sum()

    end = metaphys.unroll(loss, rule, start, steps=2, adjoint=adjoint)
    assert_near(end.params, {"a": torch.full((2,), 0.8), "b": torch.full((3,), 0.6)})
    assert_near(torch.autograd.grad(end.params["a"].sum(), rates["a"]), (torch.tensor(-4.0),))
    falling = metaphys.adamw(
        lr=lambda t: 0.1 / (1 + t), weight_decay=0.5, mask={"a": True, "b": False}
    )
    end = metaphys.unroll(loss, falling, start, steps=2, adjoint=adjoint)
    assert float(end.params["a"][0]) == pytest.approx(0.85 * 0.975 - 0.05, rel=1e-6)
    assert float(end.params["b"][0]) == pytest.approx(0.85, rel=1e-6)


@adjoints
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtypes_stay(adjoint, dtype):
    start = torch.ones(2, dtype=dtype, requires_grad=True)
    rate = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    end = metaphys.unroll(square, metaphys.adam(lr=rate), start, steps=3, meta=2.0, adjoint=adjoint)
    grads = torch.autograd.grad(end.params.sum(), (start, rate))
    assert [t.dtype for t in (end.params, end.losses, *grads)] == [dtype] * 3 + [torch.float64]


@adjoints
def test_going_on_from_a_state(adjoint):
    rule = metaphys.adam(lr=0.1)
    start, meta = torch.randn(3), torch.randn(3)

    def two_halves(meta):
        half = metaphys.unroll(square, rule, start, steps=2, meta=meta, adjoint=adjoint)
        return metaphys.unroll(
            square, rule, half.params, steps=3, meta=meta, state=half.state, adjoint=adjoint
        )

    whole = metaphys.unroll(square, rule, start, steps=5, meta=meta, adjoint=adjoint)
    assert_near((two_halves(meta).params, two_halves(meta).state), (whole.params, whole.state))
    of_whole = torch.func.grad(
        lambda m: metaphys.unroll(square, rule, start, steps=5, meta=m).params.sum()
    )
    assert_near(torch.func.grad(lambda m: two_halves(m).params.sum())(meta), of_whole(meta))


@adjoints
def test_no_graph_where_none_is_wanted(adjoint):
    start = torch.ones(2, requires_grad=True)
    with torch.no_grad():
        end = metaphys.unroll(square, SGD, start, steps=3, meta=0.0, adjoint=adjoint)
    assert not end.params.requires_grad and not end.losses.requires_grad


@adjoints
def test_unrolls_nest(adjoint):
    def inner(start, meta):
        return metaphys.unroll(square, SGD, start, steps=3, meta=meta, adjoint=adjoint).params

    def loss(params, meta):
        return inner(params, meta).square().sum()

    start, meta = torch.ones(2), torch.full((2,), 0.5)

    def end(meta, adjoint):
        return metaphys.unroll(loss, SGD, start, steps=4, meta=meta, adjoint=adjoint).params.sum()

    found = torch.func.grad(lambda m: end(m, adjoint))(meta)
    # inner: p → a p + (1 - a) m with a = 0.8³; outer: p → p - 0.2 a (a p + (1 - a) m)
    a = 0.8**3
    by_meta = torch.zeros(())
    for _ in range(4):
        by_meta = by_meta - 0.2 * a * (a * by_meta + 1 - a)
    assert_near(found, by_meta.expand(2))


# How it ends --------------------------------------------------------------------------------


@adjoints
def test_status_completed(adjoint):
    end = metaphys.unroll(square, SGD, torch.ones(2), steps=3, meta=0.0, adjoint=adjoint)
    assert end.status is Status.completed and end.status.name == "completed"


@adjoints
@pytest.mark.parametrize("steps", [1, 2, 9])
def test_status_nonfinite_is_data(adjoint, steps):
    def loss(params, meta):
        return (params**4).sum()

    start = torch.full((2,), 1e100, requires_grad=True)
    end = metaphys.unroll(loss, metaphys.sgd(lr=1e9), start, steps=steps, adjoint=adjoint)
    assert end.status is Status.nonfinite and end.losses.shape == (steps,)


@adjoints
def test_stopping_early(adjoint):
    # p' = 0.8 p: losses 1, 0.64, 0.4096, 0.262; the third is the first at or below 0.5.
    start = torch.ones((), requires_grad=True)
    end = metaphys.unroll(
        square, metaphys.sgd(lr=0.1, momentum=0.0), start, steps=6, meta=0.0, stop_below=0.5,
        adjoint=adjoint,
    )  # fmt: skip
    assert end.status is Status.stopped
    assert_near(end.params, torch.tensor(0.64))
    assert_near(end.losses, torch.tensor([1, 0.64, 0.4096, 0.4096, 0.4096, 0.4096]))
    assert end.state.count.tolist() == [2]
    assert_near(torch.autograd.grad(end.params, start), (torch.tensor(0.64),))


@adjoints
def test_every_task_has_its_status(adjoint):
    def run(start):
        def loss(p, _):
            return (p**4).sum()

        return metaphys.unroll(
            loss, SGD, start, steps=8, stop_below=1e-3, adjoint=adjoint, trajectory=True
        )

    end = vmap(run)(torch.tensor([[0.1], [1.0], [100.0]]))
    assert end.status == [Status.stopped, Status.completed, Status.nonfinite]
    assert end.trajectory.shape == (3, 8, 1) and end.losses.shape == (3, 8)
    assert_near(end.params[0], torch.tensor([0.1]))


@pytest.mark.cpu("elsewhere torch's dropout is fused, and has no forward mode for Mixed")
@pytest.mark.parametrize("adjoint", ADJOINTS[1:], ids=str)
def test_modules_with_dropout(adjoint):
    net = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Tanh(), nn.Linear(8, 1)).train()
    start = {name: p.detach().requires_grad_() for name, p in net.named_parameters()}
    x = torch.randn(16, 3)

    def loss(params, meta):
        return functional_call(net, params, x).square().mean()

    results = []
    for each in (Full(), adjoint):
        torch.manual_seed(3)
        end = metaphys.unroll(loss, metaphys.adam(lr=0.1), start, steps=5, adjoint=each)
        results.append(torch.autograd.grad(end.losses.sum(), list(start.values())))
    assert_near(results[1], results[0])


# What is refused ----------------------------------------------------------------------------

ONES = torch.ones(2)
WRONG: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "loss is no function": ({"loss_fn": 3}, TypeError, "loss_fn"),
    "rule is an optimizer": ({"rule": torch.optim.SGD}, TypeError, "rule"),
    "no steps": ({"steps": 0}, ValueError, "steps"),
    "half a step": ({"steps": 1.5}, ValueError, "steps"),
    "a flag for steps": ({"steps": True}, ValueError, "steps"),
    "adjoint by name": ({"adjoint": "full"}, TypeError, "adjoint"),
    "adjoint's class": ({"adjoint": Full}, TypeError, "adjoint"),
    "no params": ({"params": {}}, ValueError, "params"),
    "integer params": ({"params": torch.ones(2, dtype=torch.int64)}, ValueError, "params"),
    "params of numbers": ({"params": [1.0]}, TypeError, "params"),
    "short batches": ({"batches": torch.ones(2, 5)}, ValueError, "batches"),
    "a batch without steps": ({"batches": torch.tensor(1.0)}, ValueError, "batches"),
    "batches of numbers": ({"batches": [1.0, 2.0, 3.0]}, TypeError, "batches"),
    "a loss of two": ({"loss_fn": lambda p, m: p}, ValueError, "loss_fn"),
    "no loss": ({"loss_fn": lambda p, m: None}, ValueError, "loss_fn"),
    "another state": ({"state": SGD.init([ONES, ONES])}, ValueError, "grads"),
    "stop below what": ({"stop_below": "0.1"}, TypeError, "stop_below"),
    "stop at nothing": ({"stop_below": float("nan")}, ValueError, "stop_below"),
}


@pytest.mark.parametrize("case", WRONG)
def test_refused_by_name(case):
    given, error, argument = WRONG[case]
    arguments = {"loss_fn": square, "rule": SGD, "params": ONES, "steps": 3, "meta": 0.0, **given}
    with pytest.raises(error, match=f"`{argument}`"):
        metaphys.unroll(**arguments)
