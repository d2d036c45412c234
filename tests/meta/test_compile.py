"""A compiled unroll is the same function with the same derivatives, or the eager one and a warning.

By ``aot_eager``, which is all of the compiler but the code that it writes. With Inductor, which
takes minutes: ``METAPHYS_TEST_INDUCTOR=1 python -m pytest tests/meta/test_compile.py -k inductor``.
"""

from __future__ import annotations

import gc
import os
import weakref
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch.func import grad, jacfwd, jacrev, vmap

import metaphys
from metaphys.meta import _compile
from metaphys.meta.adjoint import Checkpoint, Full, Mixed, OneStep, Truncated
from metaphys.physics import OscillatorArray, PhysicsAware, SimulatedDevice, WithNoise
from tests.tables import ONE_OF_EACH, RULES, assert_near, slope


@pytest.fixture(autouse=True)
def nothing_compiled():
    torch.compiler.reset()
    _compile.forget()
    yield
    _compile.forget()
    torch.compiler.reset()


def inner(params, meta, batch):
    prediction = torch.tanh(batch @ params["w"]) @ params["v"]
    return ((prediction - meta["target"]) ** 2).mean() + meta["decay"] * params["w"].square().sum()


def problem(steps: int = 2) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return {
        "w": torch.randn(3, 4),
        "v": torch.randn(4, 2),
        "target": torch.randn(5, 2),
        "decay": torch.tensor(0.1),
        "lr": torch.tensor(0.05),
        "batch": torch.randn(steps, 5, 3),
    }


def outer(inputs: dict[str, torch.Tensor], rule: Any, **options: Any) -> torch.Tensor:
    """A function of everything that an unroll gives."""
    end = metaphys.unroll(
        inner,
        rule if isinstance(rule, metaphys.Rule) else rule(inputs),
        {"w": inputs["w"], "v": inputs["v"]},
        steps=len(inputs["batch"]),
        batches=inputs["batch"],
        meta={"target": inputs["target"], "decay": inputs["decay"]},
        trajectory=True,
        **{"backend": "aot_eager", **options},
    )
    return (
        end.params["w"].square().sum()
        + end.params["v"].pow(3).sum()
        + end.losses.square().sum()
        + end.trajectory["w"].sin().sum()
    )


def gradients(inputs: dict[str, torch.Tensor], rule: Any, **options: Any) -> tuple[Any, Any]:
    given = {name: tensor.clone().requires_grad_() for name, tensor in inputs.items()}
    value = outer(given, rule, **options)
    grads = torch.autograd.grad(value, list(given.values()), materialize_grads=True)
    return value.detach(), dict(zip(given, grads))


def assert_same(found: Any, expected: Any, rtol: float = 1e-9) -> None:
    torch.testing.assert_close(found, expected, rtol=rtol, atol=1e-10)


def learned(inputs: dict[str, torch.Tensor]):
    return metaphys.adam(lr=inputs["lr"], eps=0.1)


def quartic(params, meta):
    return ((params @ params - meta) ** 2).sum() + params.sin().sum()


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_every_rule(name):
    results = []
    for mode in (False, "step"):
        torch.manual_seed(1)
        start, meta = torch.randn(2, 3, 3).requires_grad_().unbind()
        end = metaphys.unroll(
            quartic, RULES[name](), start, steps=3, meta=meta, compile=mode, backend="aot_eager"
        )
        found = torch.autograd.grad(end.params.sin().sum() + end.losses.sum(), (start, meta))
        results.append((found, end.losses.detach()))
    assert_same(results[1], results[0])


OPTIONS = (
    *("sgd-dampened", "sgd-nesterov", "sgd-decay", "sgd-maximize", "adam-decay", "adam-maximize"),
    *("adamw-amsgrad", "rmsprop-nesterov", "adagrad", "adan-no-prox", "nadam-decoupled"),
    "scheduled",
)
"""What the rules of the test above do not have; one option of each kind."""


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_options_of_rules_under_every_exact_adjoint(dtype):
    # One compilation for all: a rule for each of the parameters.
    names = OPTIONS if dtype is torch.float64 else ("sgd-nesterov", "adam-decay", "rmsprop")
    falling = metaphys.schedule.polynomial_schedule(0.2, 0.0, power=2, transition_steps=5)
    rules = RULES | {"scheduled": lambda: metaphys.sgd(lr=falling, momentum=0.5)}
    rule = metaphys.transform.partition({n: rules[n]() for n in names}, {n: n for n in names})
    given = torch.randn(len(names) + 1, 3, 3, dtype=dtype).requires_grad_()
    *start, meta = given.unbind()

    def loss(params, meta):
        all_of = torch.stack(list(params.values()))
        return (all_of @ all_of - meta).square().mean((1, 2)).sum() + all_of.sin().sum()

    def found(**options):
        end = metaphys.unroll(
            loss, rule, dict(zip(names, start)), steps=4, meta=meta, backend="aot_eager", **options
        )
        total = sum(w.sin().sum() for w in end.params.values()) + end.losses.mean()
        return torch.autograd.grad(total, given)[0]

    expected, rtol = found(), 1e-9 if dtype is torch.float64 else 1e-4
    for adjoint in (Full(), Checkpoint(3), Mixed()):
        ours = found(compile="step", adjoint=adjoint)
        torch.testing.assert_close(ours, expected, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("mode", ["graph", "step"])
def test_learned_rates_and_central_differences(mode):
    inputs = problem(2)
    _, found = gradients(inputs, learned, compile=mode)
    assert_same(found, gradients(inputs, learned)[1])
    for name in ("w", "target", "lr", "batch"):
        direction = torch.randn_like(inputs[name])

        def along(x, name=name):
            return outer({**inputs, name: x}, learned)

        by_compiled = (found[name] * direction).sum().item()
        assert by_compiled == pytest.approx(slope(along, inputs[name], direction), rel=1e-6)


def test_adjoints_share_the_program_of_a_step():
    rule, inputs = metaphys.sgd(lr=0.1, momentum=0.9), problem(4)
    expected = gradients(inputs, rule)
    assert_same(gradients(inputs, rule, compile="step"), expected)
    for adjoint in (Checkpoint(3), Mixed(), Full()):
        assert_same(gradients(inputs, rule, compile="step", adjoint=adjoint), expected)
    for adjoint in (Truncated(2), OneStep()):
        expected = gradients(inputs, rule, adjoint=adjoint)
        assert_same(gradients(inputs, rule, compile="step", adjoint=adjoint), expected)


def square(params, meta):
    return (params - meta).square().sum()


def unrolled(loss=square, mode: Any = "step", meta: Any = 1.0, steps: int = 2, **options: Any):
    start = torch.ones(3, requires_grad=True)
    end = metaphys.unroll(
        loss, metaphys.sgd(lr=0.1), start, steps=steps, meta=meta, compile=mode,
        backend="aot_eager", **options,
    )  # fmt: skip
    return end, start


def test_a_function_made_anew_is_not_compiled_anew():
    def total(scale):
        end, start = unrolled(lambda p, m: (scale * p).square().sum())
        return torch.autograd.grad(end.params.sum(), start)[0]

    assert_near(total(torch.tensor(1.0)), torch.full((3,), 0.64))
    torch.compiler.set_stance("fail_on_recompile")
    try:
        assert_near(total(torch.tensor(2.0)), torch.full((3,), 0.04))
    finally:
        torch.compiler.set_stance("default")


def test_what_was_compiled_keeps_no_call_alive():
    class Scale:
        value = 1.0

    def once() -> list[weakref.ref[Any]]:
        scale, rate = Scale(), torch.tensor(0.1, requires_grad=True)
        learned, start = rate * 2, torch.ones(3)
        end = metaphys.unroll(
            lambda p, m: (scale.value * p).square().sum(), metaphys.sgd(lr=learned), start,
            steps=2, compile=True, backend="aot_eager",
        )  # fmt: skip
        # p' = (1 - 2 η)² p of three, with η twice the rate.
        assert_near(torch.autograd.grad(end.params.sum(), rate)[0], torch.tensor(-14.4))
        return [weakref.ref(scale), weakref.ref(learned)]

    alive = once()
    gc.collect()
    assert [each() for each in alive] == [None, None]


def test_what_changes_in_a_rule_is_compiled_anew():
    start = torch.ones(3)
    for rate in (0.1, 0.2):
        end = metaphys.unroll(
            square, metaphys.sgd(lr=rate), start, steps=1, meta=0.0, compile="step",
            backend="aot_eager",
        )  # fmt: skip
        assert_near(end.params, (1 - 2 * rate) * start)


def test_stopping_early():
    end, _ = unrolled(meta=0.0, steps=6, stop_below=1.5)
    assert end.status is metaphys.Status.stopped
    assert_near(end.params.detach(), torch.full((3,), 0.64))


def test_first_derivatives_only():
    end, start = unrolled(lambda p, m: (p**4).sum())
    (first,) = torch.autograd.grad(end.params.sum(), start, create_graph=True)
    with pytest.raises(RuntimeError, match="compile=False"):
        torch.autograd.grad(first.sum(), start)


@pytest.mark.parametrize("mode", ["graph", "step"])
def test_a_closed_over_tensor_gets_its_gradient(mode):
    learned = torch.tensor(0.5, requires_grad=True)

    def loss(params, meta):
        return (params - learned).square().sum()

    end, _ = unrolled(loss, mode)
    # p' = 0.8 p + 0.2 m, twice, of three.
    assert_near(torch.autograd.grad(end.params.sum(), learned), (torch.tensor(3 * 0.36),))


def test_python_around_the_tensors_runs_once_an_unroll():
    seen = []

    def loss(params, meta):
        seen.append(params.ndim)
        return square(params, meta)

    unrolled(loss, steps=5)  # is looked at before it is compiled
    seen.clear()
    unrolled(loss, steps=5)
    assert len(seen) == 1


# What cannot be compiled runs as it is ------------------------------------------------------


def branching(params, meta):
    return params.square().sum() if params.sum() > 0 else params.abs().sum()


def noisy(params, meta):
    return (params - torch.rand(3)).square().sum()


WHY = {"a branch on values": (branching, "step", "ranch"), "random": (noisy, "step", "random")}


@pytest.mark.parametrize("case", WHY)
def test_the_eager_path_with_one_warning(case):
    loss, mode, why = WHY[case]
    torch.manual_seed(0)
    with pytest.warns(UserWarning, match=f"without `compile`.*{why}"):
        end, start = unrolled(loss, mode)
    torch.manual_seed(0)
    expected, leaf = unrolled(loss, False)
    assert_near(end.params, expected.params)
    found = torch.autograd.grad(end.params.sum(), start)
    assert_near(found, torch.autograd.grad(expected.params.sum(), leaf))
    unrolled(loss, mode)  # a second warning would be an error


@pytest.mark.parametrize(
    "name",
    [
        "torch._functorch.aot_autograd.aot_export_joint_simple",
        "torch._functorch.partitioners.min_cut_rematerialization_partition",
    ],
)
def test_a_torch_that_names_its_parts_otherwise(name, monkeypatch):
    monkeypatch.delattr(name)
    with pytest.warns(UserWarning, match=f"without `compile`.*{name.rpartition('.')[2]}"):
        end, start = unrolled()
    expected, leaf = unrolled(mode=False)
    assert_near(end.params, expected.params)
    found = torch.autograd.grad(end.params.sum(), start)
    assert_near(found, torch.autograd.grad(expected.params.sum(), leaf))


def test_a_torch_that_knows_no_filter_of_guards(monkeypatch):
    def unknown(*_, **__):
        raise RuntimeError("Unexpected optimization option guard_filter_fn")

    monkeypatch.setattr(torch, "compile", unknown)
    with pytest.warns(UserWarning, match="without `compile`.*guard_filter_fn"):
        end, _ = unrolled()
    assert_near(end.params, unrolled(mode=False)[0].params)


@pytest.mark.parametrize("adjoint", [Full(), Checkpoint()], ids=str)
def test_a_device_is_measured_no_more_often(adjoint):
    results = []
    for mode in (False, "graph"):
        array = OscillatorArray(3)
        device = WithNoise(SimulatedDevice(array), 0.1, seed=3)
        pat = PhysicsAware(device, array)
        controls = array.init_controls(generator=torch.Generator().manual_seed(1))
        start = {name: tensor.requires_grad_() for name, tensor in controls.items()}
        drive = torch.ones(2, 3)

        def loss(params, meta, pat=pat, drive=drive):
            return pat(drive, params).square().mean()

        with pytest.warns(UserWarning, match="measurements") if mode else nullcontext():
            end = metaphys.unroll(
                loss, metaphys.sgd(lr=0.1), start, steps=3, adjoint=adjoint, compile=mode
            )
        found = torch.autograd.grad(end.losses.sum(), list(start.values()))
        results.append((end.losses.detach(), found, device.calls))
    assert results[1][2] == results[0][2] > 0
    assert_near(results[1][:2], results[0][:2])


TRANSFORMS = {
    "grad-vmap": lambda f: grad(lambda x: vmap(f)(x).sum()),
    "vmap-vmap-grad": lambda f: vmap(vmap(grad(f))),
    "vmap-jacrev": lambda f: vmap(jacrev(f)),
}


@pytest.mark.parametrize(
    ("way", "adjoint"),
    [("grad-vmap", Full()), ("vmap-vmap-grad", Full()), ("vmap-jacrev", Checkpoint(2))],
    ids=str,
)
def test_inside_of_torch_func(way, adjoint):
    inputs = problem(3)
    for _ in range(2 if way == "vmap-vmap-grad" else 1):
        inputs = {name: torch.stack([tensor, 0.9 * tensor]) for name, tensor in inputs.items()}

    def asked(**options):
        return TRANSFORMS[way](lambda x: outer(x, learned, adjoint=adjoint, **options))(inputs)

    assert_same(asked(compile="step"), asked())


def test_tasks_that_share_all_but_the_target():
    inputs, targets = problem(3), torch.randn(4, 5, 2)

    def total(shared, **options):
        def task(target):
            return outer({**shared, "target": target}, learned, **options)

        return vmap(task)(targets).sum()

    expected = grad(total)(inputs)
    assert_same(grad(lambda x: total(x, compile="step"))(inputs), expected)
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in inputs.items()}
    found = torch.autograd.grad(
        total(leaves, compile="step"), list(leaves.values()), allow_unused=True
    )
    found = dict(zip(leaves, found))
    assert found.pop("target") is None
    expected.pop("target")
    assert_same(found, expected)


def test_what_a_mapped_loss_closes_over_is_refused():
    def end(hidden):
        return unrolled(lambda p, m: (p - hidden).square().sum())[0].params.sum()

    with pytest.raises(ValueError, match=r"`loss_fn`.*mapped by vmap.*`meta=`"):
        vmap(end)(torch.tensor([0.0, 1.0]))


def test_first_derivatives_only_of_a_mapped_one():
    inputs = problem(2)

    def once(x):
        return grad(lambda y: outer(y, learned, compile="step"))(x)["decay"]

    with pytest.raises(RuntimeError, match="compile=False"):
        grad(once)(inputs)


def test_forward_mode_takes_the_eager_path():
    inputs = problem(2)

    def by_rate(rate, **options):
        return outer({**inputs, "lr": rate}, learned, **options)

    with pytest.warns(UserWarning, match="forward mode"):
        found = jacfwd(lambda rate: by_rate(rate, compile="step"))(inputs["lr"])
    assert_near(found, jacfwd(by_rate)(inputs["lr"]))


def test_of_a_module():
    results = []
    for mode in (False, True):
        torch.manual_seed(5)
        net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
        target = torch.full((6, 4), 0.3, requires_grad=True)
        start, batches = [*net.parameters(), target], torch.randn(3, 6, 3)
        # eps: a bias in front of a BatchNorm has no gradient but rounding, which Adam divides by.
        optimizer = metaphys.MetaAdam(net, lr=0.1, eps=0.1)
        for _ in range(2):  # the second one goes on from tensors with a history
            end = optimizer.unroll(
                lambda y, batch, net=net: (net(batch) - y).square().mean(), 3,
                batches=batches, meta=target, compile=mode, backend="aot_eager",
            )  # fmt: skip
        found = torch.autograd.grad(net(batches[0]).square().sum(), start)
        results.append((found, list(net.buffers()), end.losses.detach()))
    assert_near(results[1], results[0])


@pytest.mark.parametrize(
    ("given", "argument"),
    [({"compile": "fast"}, "compile"), ({"compile": True, "backend": "gcc"}, "backend")],
    ids=["compile", "backend"],
)
def test_refused_by_name(given, argument):
    with pytest.raises(ValueError, match=f"`{argument}`"):
        metaphys.unroll(square, metaphys.sgd(lr=0.1), torch.ones(2), steps=1, meta=0.0, **given)


inductor = pytest.mark.skipif(
    "METAPHYS_TEST_INDUCTOR" not in os.environ, reason="minutes; METAPHYS_TEST_INDUCTOR=1 runs it"
)


@inductor
@pytest.mark.parametrize("mode", ["graph", "step"])
@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_by_inductor(mode, name):
    rule, inputs = RULES[name](), problem(2)
    found = gradients(inputs, rule, compile=mode, backend="inductor")
    assert_same(found, gradients(inputs, rule))


def of_any_strides(mode: Any, backend: str) -> Any:
    """A start, data, outside tensor and cotangents that are no contiguous tensors."""
    torch.manual_seed(3)
    weight, bias = torch.randn(4, 4).t().requires_grad_(), torch.zeros(1).expand(4).requires_grad_()
    data, outside = torch.randn(5, 3, 4).movedim(1, 0), torch.randn(4, 5).t().requires_grad_()

    def loss(params, meta, batch):
        hidden = torch.nn.functional.linear(batch, *params)
        return (hidden.t() @ outside - params[0].t()).square().mean()

    end = metaphys.unroll(
        loss, metaphys.sgd(lr=0.1, momentum=0.9), (weight, bias), steps=3, batches=data,
        compile=mode, backend=backend,
    )  # fmt: skip
    total = end.params[0].sum() + end.params[1].sum() + end.losses.sum()
    return torch.autograd.grad(total, (weight, bias, outside))


@pytest.mark.parametrize(
    ("mode", "backend"),
    [("step", "aot_eager"), pytest.param("step", "inductor", marks=inductor),
     pytest.param("graph", "inductor", marks=inductor)],
)  # fmt: skip
def test_tensors_of_any_strides(mode, backend):
    assert_same(of_any_strides(mode, backend), of_any_strides(False, backend))
