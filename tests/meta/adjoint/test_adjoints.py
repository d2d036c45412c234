"""Every exact adjoint is the same derivative, of every input, to second order, in every mode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import grad, jacfwd, jacrev, vmap

import metaphys
from helpers.memory import PeakMemory
from metaphys.meta.adjoint import Checkpoint, Forward, Full, Mixed, OneStep, Truncated
from metaphys.physics import OscillatorArray, PhysicsAware, SimulatedDevice, WithNoise
from tests.tables import ONE_OF_EACH, RULES, slope

EXACT = {
    "checkpoint": Checkpoint(),
    "checkpoint-all": Checkpoint(every=9),
    "mixed": Mixed(),
    "mixed-1": Mixed(every=1),
}
exact = pytest.mark.parametrize("adjoint", EXACT.values(), ids=EXACT)
STEPS = 5
# Adadelta's rate is learned elsewhere; here one option of each rule is enough.
SOME = ("sgd", "sgd-momentum", "sgd-nesterov", "sgd-decay", "adam-decay", "adamw", *ONE_OF_EACH)


def inner(params, meta, batch):
    """A two-layer regression whose target and decay are meta-parameters."""
    prediction = torch.tanh(batch @ params["w"]) @ params["v"]
    return ((prediction - meta["target"]) ** 2).mean() + meta["decay"] * params["w"].square().sum()


def problem() -> dict[str, Tensor]:
    """Every input of an unroll."""
    return {
        "w": torch.randn(3, 4),
        "v": torch.randn(4, 2),
        "target": torch.randn(5, 2),
        "decay": torch.tensor(0.1),
        "batch": torch.randn(STEPS, 5, 3),
    }


def outer(inputs: dict[str, Tensor], rule: Any, adjoint: Any) -> Tensor:
    """A function of everything that an unroll gives."""
    end = metaphys.unroll(
        inner,
        rule if isinstance(rule, metaphys.Rule) else rule(inputs),
        {"w": inputs["w"], "v": inputs["v"]},
        steps=STEPS,
        batches=inputs["batch"],
        meta={"target": inputs["target"], "decay": inputs["decay"]},
        adjoint=adjoint,
        trajectory=True,
    )
    moments = [t for field in end.state if isinstance(field, tuple) for t in field]
    return (
        end.params["w"].square().sum()
        + end.params["v"].pow(3).sum()
        + end.losses.square().sum()
        + end.trajectory["w"].sin().sum()
        + sum((m.square().sum() for m in moments), torch.zeros(()))
    )


def gradients(function: Callable[[dict[str, Tensor]], Tensor], inputs: dict[str, Tensor]):
    given = {name: tensor.clone().requires_grad_() for name, tensor in inputs.items()}
    return dict(zip(given, torch.autograd.grad(function(given), list(given.values()))))


def assert_same(found: Any, expected: Any, rtol: float = 1e-9) -> None:
    torch.testing.assert_close(found, expected, rtol=rtol, atol=1e-10)


def learned(inputs: dict[str, Tensor]):
    return metaphys.adam(lr=inputs["lr"], betas=(inputs["b1"], inputs["b2"]), eps=1e-3)


def with_rates() -> dict[str, Tensor]:
    rates = {"lr": torch.tensor(0.05), "b1": torch.tensor(0.8), "b2": torch.tensor(0.95)}
    return {**problem(), **rates}


@exact
@pytest.mark.parametrize("name", SOME)
def test_adjoint_by_rule(adjoint, name):
    inputs, rule = problem(), RULES[name]()
    expected = gradients(lambda x: outer(x, rule, Full()), inputs)
    assert_same(gradients(lambda x: outer(x, rule, adjoint), inputs), expected)


@pytest.mark.parametrize("adjoint", [Checkpoint(2), Mixed(2)], ids=str)
@pytest.mark.parametrize("name", ["sgd-momentum", "adam", "adamw", "rmsprop-centered", "lion"])
def test_vmapped_over_tasks(adjoint, name):
    tasks = {key: torch.stack([t, 0.7 * t]) for key, t in problem().items()}
    rule = RULES[name]()
    whole = gradients(lambda x: vmap(lambda y: outer(y, rule, Full()))(x).sum(), tasks)
    assert_same(gradients(lambda x: vmap(lambda y: outer(y, rule, adjoint))(x).sum(), tasks), whole)
    assert_same(vmap(grad(lambda x: outer(x, rule, adjoint)))(tasks), whole)
    one = {key: tensor[1] for key, tensor in tasks.items()}
    alone = gradients(lambda x: outer(x, rule, adjoint), one)
    assert_same(alone, {key: tensor[1] for key, tensor in whole.items()})


@pytest.mark.parametrize("adjoint", [Checkpoint(2), Mixed(2)], ids=str)
def test_tasks_that_share_the_start(adjoint):
    inputs = problem()
    targets = torch.randn(3, 5, 2)

    def total(adjoint):
        def task(start, target):
            return outer({**start, "target": target}, RULES["adam"](), adjoint)

        return grad(lambda start: vmap(lambda target: task(start, target))(targets).sum())(inputs)

    assert_same(total(adjoint), total(Full()))


@exact
def test_learned_rates_and_central_differences(adjoint):
    inputs = with_rates()
    expected = gradients(lambda x: outer(x, learned, Full()), inputs)
    found = gradients(lambda x: outer(x, learned, adjoint), inputs)
    assert_same(found, expected)
    assert_same(grad(lambda x: outer(x, learned, adjoint))(inputs), expected)
    for name, value in inputs.items():
        direction = torch.randn_like(value)
        truth = slope(
            lambda x, name=name: outer({**inputs, name: x}, learned, adjoint), value, direction
        )
        assert float((found[name] * direction).sum()) == pytest.approx(truth, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("adjoint", [Checkpoint(2), Mixed(2)], ids=str)
def test_second_order(adjoint):
    inputs = with_rates()

    def twice(adjoint):
        def once(x):
            parts = grad(lambda y: outer(y, learned, adjoint))(x).values()
            return sum((part.square().sum() for part in parts), torch.zeros(()))

        return once

    expected = grad(twice(Full()))(inputs)
    assert_same(grad(twice(adjoint))(inputs), expected)
    given = {name: tensor.clone().requires_grad_() for name, tensor in inputs.items()}
    leaves = list(given.values())
    first = torch.autograd.grad(outer(given, learned, adjoint), leaves, create_graph=True)
    square = sum((part.square().sum() for part in first), torch.zeros(()))
    second = torch.autograd.grad(square, leaves)
    assert_same(dict(zip(given, second)), expected)


@pytest.mark.parametrize("adjoint", [Full(), Checkpoint(2), Mixed(2)], ids=str)
def test_forward_mode(adjoint):
    inputs = with_rates()

    def by_rate(rate):
        return outer({**inputs, "lr": rate}, learned, adjoint)

    rate = inputs["lr"]
    assert_same(jacfwd(by_rate)(rate), grad(by_rate)(rate))
    assert_same(jacfwd(grad(by_rate))(rate), jacrev(grad(by_rate))(rate))
    assert_same(jacfwd(jacfwd(by_rate))(rate), grad(grad(by_rate))(rate))


# Forward ------------------------------------------------------------------------------------

SCALARS = ("decay", "lr", "b1", "b2", "target")


def of_scalars(adjoint: Any):
    """The outer loss as a function of the constants alone."""
    inputs = with_rates()
    return (
        lambda x: outer({**inputs, **x}, learned, adjoint),
        {name: inputs[name] for name in SCALARS},
    )


def test_forward_is_the_same_derivative():
    torch.manual_seed(1)
    full, scalars = of_scalars(Full())
    torch.manual_seed(1)
    forward, _ = of_scalars(Forward())
    expected = gradients(full, scalars)
    assert_same(gradients(forward, scalars), expected)
    assert_same(grad(forward)(scalars), expected)
    tasks = {name: torch.stack([t, 0.9 * t]) for name, t in scalars.items()}
    assert_same(vmap(grad(forward))(tasks), vmap(grad(full))(tasks))
    assert_same(grad(lambda x: vmap(forward)(x).sum())(tasks), vmap(grad(full))(tasks))
    assert_same(jacfwd(forward)(scalars), expected)


def test_forward_has_no_second_derivative_and_says_so():
    forward, scalars = of_scalars(Forward())

    def once(x):
        return grad(forward)(x)["lr"]

    with pytest.raises(RuntimeError, match="first derivatives only"):
        grad(once)(scalars)
    rate = scalars["lr"].clone().requires_grad_()
    value = forward({**scalars, "lr": rate})
    (first,) = torch.autograd.grad(value, rate, create_graph=True)
    with pytest.raises(RuntimeError, match="first derivatives only"):
        torch.autograd.grad(first, rate)


@pytest.mark.parametrize("name, argument", [("w", "params"), ("batch", "batches")])
def test_forward_takes_a_constant_start_and_data(name, argument):
    inputs = with_rates()
    with pytest.raises(ValueError, match=f"`{argument}`"):
        grad(lambda x: outer({**inputs, name: x}, learned, Forward()))(inputs[name])


@pytest.mark.parametrize("way", ["autograd", "grad", "grad-of-grad", "vmap-grad", "grad-vmap"])
def test_forward_refuses_what_is_closed_over(way):
    def end(hidden):
        def loss(p, rate):
            return ((p - hidden) ** 2).sum()

        rule = metaphys.sgd(lr=torch.tensor(0.1, requires_grad=True))
        return metaphys.unroll(loss, rule, torch.zeros(()), steps=3, adjoint=Forward()).params

    with pytest.raises(ValueError, match=r"`loss_fn`.*closes over.*`meta=`"):
        ASKED[way](end)


def test_forward_measures_once_and_draws_once():
    array = OscillatorArray(2)
    device = WithNoise(SimulatedDevice(array), 0.1, seed=3)
    pat = PhysicsAware(device, array)
    start = array.init_controls(generator=torch.Generator().manual_seed(1))

    def loss(controls, drive):
        return pat(torch.nn.functional.dropout(drive, 0.5), controls).square().mean()

    def end(rates, adjoint):
        torch.manual_seed(7)
        rule = metaphys.sgd(lr=rates[0], momentum=rates[1])
        drive = torch.ones(4, 2)
        return metaphys.unroll(loss, rule, start, steps=3, meta=drive, adjoint=adjoint).losses.sum()

    rates = torch.tensor([0.1, 0.5])
    found = grad(lambda r: end(r, Forward()))(rates)
    assert device.calls == 3 * 4
    device = WithNoise(SimulatedDevice(array), 0.1, seed=3)
    pat = PhysicsAware(device, array)
    assert_same(found, grad(lambda r: end(r, Full()))(rates))


# The windows -------------------------------------------------------------------------------


def quadratic(params, meta):
    return ((params - meta) ** 2).sum() / 2


@pytest.mark.parametrize("adjoint, k", [(Truncated(3), 3), (OneStep(), 1), (Truncated(99), 9)])
def test_a_window_is_what_its_steps_contribute(adjoint, k):
    # p' = p - η (p - μ): step j contributes η (1 - η)^(k - 1 - j).
    rule, start = metaphys.sgd(lr=0.3), torch.zeros(2, requires_grad=True)
    meta = torch.ones(2, requires_grad=True)
    end = metaphys.unroll(quadratic, rule, start, steps=9, meta=meta, adjoint=adjoint)
    full = metaphys.unroll(quadratic, rule, start, steps=9, meta=meta)
    assert_same(end.params, full.params)
    assert_same(end.losses, full.losses)
    found, by_start = torch.autograd.grad(end.params.sum(), (meta, start), allow_unused=True)
    assert_same(found, torch.full((2,), 1 - 0.7**k))
    assert (by_start is None) == (k < 9)


def test_a_window_is_cut_under_every_transform():
    def end(meta):
        def loss(p, _):
            return ((p - meta) ** 2).sum() / 2  # closed over: tracked inside of no_grad too

        return metaphys.unroll(
            loss, metaphys.sgd(lr=0.3), torch.zeros(()), steps=4, adjoint=Truncated(2)
        ).params

    assert_same(grad(end)(torch.tensor(1.0)), torch.tensor(1 - 0.7**2))
    assert_same(
        grad(lambda m: end(m) ** 2 / 2)(torch.tensor(1.0)), (1 - 0.7**2) * end(torch.tensor(1.0))
    )
    assert_same(
        grad(grad(lambda m: end(m) ** 2 / 2))(torch.tensor(1.0)), torch.tensor((1 - 0.7**2) ** 2)
    )
    assert_same(vmap(grad(end))(torch.ones(3)), torch.full((3,), 1 - 0.7**2))


@pytest.mark.parametrize(
    "make, argument",
    [
        (lambda: Checkpoint(0), "every"),
        (lambda: Checkpoint(2.5), "every"),  # pyright: ignore[reportArgumentType]
        (lambda: Mixed(every=-1), "every"),
        (lambda: Truncated(0), "k"),
        (lambda: Truncated(True), "k"),
    ],
)
def test_a_window_of_no_steps_is_refused(make, argument):
    with pytest.raises(ValueError, match=f"`{argument}`"):
        make()


# What the loss closes over ------------------------------------------------------------------


def by_closure(adjoint):
    """The end of an unroll as a function of a tensor that its loss closes over."""

    def end(hidden):
        def loss(p, _):
            return ((p - hidden) ** 2).sum()

        start = torch.zeros((), requires_grad=True)
        return metaphys.unroll(loss, metaphys.sgd(lr=0.1), start, steps=3, adjoint=adjoint).params

    return end


def by_schedule(adjoint):
    def end(rate):
        rule = metaphys.sgd(lr=lambda t: rate / (t + 1))
        return metaphys.unroll(
            quadratic, rule, torch.ones(()), steps=3, meta=0.0, adjoint=adjoint
        ).params

    return end


ASKED = {
    "autograd": lambda f: torch.autograd.grad(f(torch.tensor(0.5, requires_grad=True)), ()),
    "grad": lambda f: grad(f)(torch.tensor(0.5)),
    "grad-of-grad": lambda f: grad(grad(f))(torch.tensor(0.5)),
    "vmap": lambda f: vmap(f)(torch.ones(3)),
    "vmap-grad": lambda f: vmap(grad(f))(torch.ones(3)),
    "grad-vmap": lambda f: grad(lambda x: vmap(lambda y: f(x * y))(torch.ones(3)).sum())(
        torch.tensor(0.5)
    ),
}


@pytest.mark.parametrize("adjoint", [Checkpoint(), Mixed()], ids=str)
@pytest.mark.parametrize("closure", [by_closure, by_schedule])
@pytest.mark.parametrize("way", ASKED)
def test_a_closed_over_tensor_is_refused_not_forgotten(adjoint, closure, way):
    with pytest.raises(ValueError, match=r"`loss_fn`.*closes over.*`meta=`"):
        ASKED[way](closure(adjoint))


def test_one_that_other_tasks_could_be_taken_for():
    # Both levels of vmap above the grad: their numbers shift in the backward pass.
    def total(w, adjoint):
        def task(z, x):
            def loss(p, m):
                return ((m[0] - p * z) ** 2).sum() + 0 * m[1]

            rule = metaphys.sgd(lr=0.1)
            return metaphys.unroll(loss, rule, w, steps=3, meta=(x, z), adjoint=adjoint).params

        rows = vmap(lambda z: vmap(lambda x: task(z, x))(torch.ones(3)))
        return rows(torch.arange(3.0)).sum()

    with pytest.raises(ValueError, match="mapped by vmap"):
        grad(lambda w: total(w, Checkpoint()))(torch.ones(()))


def test_full_gives_closed_over_tensors_their_gradient():
    truth = slope(by_closure(Full()), torch.tensor(0.5), torch.tensor(1.0))
    assert float(grad(by_closure(Full()))(torch.tensor(0.5))) == pytest.approx(truth)


# What is run again --------------------------------------------------------------------------


@pytest.mark.cpu("elsewhere torch's dropout is fused, and has no forward mode for Mixed")
@pytest.mark.parametrize("adjoint", [Checkpoint(2), Mixed(2)], ids=str)
def test_random_numbers_are_the_same_again(adjoint):
    inputs = problem()

    def loss(params, meta, batch):
        hidden = torch.nn.functional.dropout(torch.tanh(batch @ params["w"]), 0.5)
        return ((hidden @ params["v"] - meta) ** 2).mean() + torch.rand(()) * params["v"].sum()

    def run(x, adjoint):
        torch.manual_seed(7)
        start = {"w": x["w"], "v": x["v"]}
        end = metaphys.unroll(
            loss,
            metaphys.adam(lr=0.1),
            start,
            steps=STEPS,
            batches=x["batch"],
            meta=x["target"],
            adjoint=adjoint,
        )
        return end.params["w"].square().sum() + end.losses.sum() + 0 * x["decay"]

    expected = gradients(lambda x: run(x, Full()), inputs)
    after = torch.rand(())
    assert_same(gradients(lambda x: run(x, adjoint), inputs), expected)
    assert torch.rand(()).equal(after)  # recomputation leaves the stream where it was
    assert_same(grad(lambda x: run(x, adjoint))(inputs), expected)


@pytest.mark.parametrize("adjoint", [Full(), Checkpoint(2), Mixed(2), OneStep()], ids=str)
@pytest.mark.parametrize("tasks", [1, 3])
def test_a_device_is_measured_once_a_step(adjoint, tasks):
    array = OscillatorArray(2)
    device = WithNoise(SimulatedDevice(array), 0.1, seed=3)
    pat = PhysicsAware(device, array)
    controls = array.init_controls(generator=torch.Generator().manual_seed(1))
    drives = torch.randn(tasks, 4, 2, generator=torch.Generator().manual_seed(2))

    def end(controls, drive):
        def loss(controls, drive):
            return pat(drive, controls).square().mean()

        rule = metaphys.adam(lr=0.1)
        unrolled = metaphys.unroll(loss, rule, controls, steps=STEPS, meta=drive, adjoint=adjoint)
        return unrolled.losses.sum() + unrolled.params["force"].square().sum()

    def total(controls):
        return vmap(lambda drive: end(controls, drive))(drives).sum()

    leaves = {k: v.clone().requires_grad_() for k, v in controls.items()}
    value = total(leaves)
    assert device.calls == STEPS * tasks * 4
    if adjoint == OneStep():
        return
    found = torch.autograd.grad(value, list(leaves.values()))
    assert device.calls == STEPS * tasks * 4
    device = WithNoise(SimulatedDevice(array), 0.1, seed=3)
    pat, adjoint = PhysicsAware(device, array), Full()
    assert_same(dict(zip(leaves, found)), grad(total)(controls))


def test_autocast_is_the_same_again():
    w, x = torch.randn(4, 4, dtype=torch.float32), torch.randn(4, 4, dtype=torch.float32)

    def end(w, adjoint):
        def loss(p, x):
            return (x @ p).float().square().mean()

        with torch.autocast("cpu", dtype=torch.bfloat16):
            unrolled = metaphys.unroll(
                loss, metaphys.sgd(lr=0.1), w, steps=4, meta=x, adjoint=adjoint
            )
        return unrolled.params.square().sum()

    results = []
    for adjoint in (Full(), Checkpoint(2), Checkpoint(4)):
        leaf = w.clone().requires_grad_()
        results.append(torch.autograd.grad(end(leaf, adjoint), leaf)[0])
    for found in results[1:]:
        torch.testing.assert_close(found, results[0], rtol=1e-2, atol=1e-3)


def nodes(tensor: Tensor) -> int:
    """The size of a graph."""
    seen, todo = set(), [tensor.grad_fn]
    while todo:
        node = todo.pop()
        if node is not None and node not in seen:
            seen.add(node)
            todo += [following for following, _ in node.next_functions]
    return len(seen)


def test_only_the_segments_are_kept():
    start = torch.randn(8, 8, requires_grad=True)

    def size(adjoint):
        def loss(p, _):
            return torch.tanh(torch.tanh(p) @ p).square().mean()

        rule = metaphys.adam(lr=0.1)
        return nodes(metaphys.unroll(loss, rule, start, steps=25, adjoint=adjoint).params)

    assert size(Checkpoint()) == size(Mixed()) <= 6 < size(Full()) / 50


@pytest.mark.parametrize("way", ["autograd", "func", "create_graph"])
def test_memory_is_saved_whoever_asks(way):
    x = torch.randn(128, 8)

    def peak(adjoint):
        def end(start):
            def loss(p, _):
                return torch.tanh(torch.tanh(x @ p) @ p).square().mean()

            rule = metaphys.adam(lr=0.1)
            return metaphys.unroll(loss, rule, start, steps=25, adjoint=adjoint).params.sum()

        start = torch.randn(8, 8, requires_grad=True)
        with PeakMemory() as memory:
            if way == "func":
                grad(end)(start.detach())
            else:
                torch.autograd.grad(end(start), start, create_graph=way == "create_graph")
        return memory.peak

    full = peak(Full())
    assert peak(Checkpoint()) < 0.4 * full
    assert peak(Mixed()) < 0.2 * full
