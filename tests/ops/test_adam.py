"""Adam's operator: gradients that are exactly zero, the step in place, wrong arguments."""

# pyright: reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false
# pyright: reportOptionalSubscript=false, reportUnusedExpression=false

from __future__ import annotations

import pytest
import torch

from metaphys import ops
from metaphys.ops.adam import adam_reference, adam_vjp_reference
from tests.tables import ADAM, DTYPES, KERNELS, assert_near, flat, leaves, state_of

ZERO = {**ADAM, "eps": 1e-3}
adams = pytest.mark.parametrize("name", [n for n in KERNELS if KERNELS[n].kind == "adam"])


def _slope_at_zero(t: int) -> float:
    """The documented ∂u/∂g where g and both moments are exactly zero."""
    return ZERO["scale"] * (1 - ZERO["b1"]) / ((1 - ZERO["b1"] ** t) * ZERO["eps"])


FORMS = {"operator": ops.adam, "reference": adam_reference}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("t", [1, 4])
def test_a_gradient_of_exactly_zero_has_the_documented_derivative(form, t):
    g = torch.tensor([0.0, 2.0, 0.0], requires_grad=True)
    m, v = (torch.zeros(3, requires_grad=True) for _ in range(2))
    u, _, _ = FORMS[form]([g], [m], [v], torch.tensor([t]), **ZERO)
    first = torch.autograd.grad(u[0].sum(), (g, m, v), create_graph=True)
    expected = _slope_at_zero(t)
    assert_near(first[0][[0, 2]], torch.full((2,), expected))
    assert_near(first[1][[0, 2]], torch.full((2,), expected * ZERO["b1"] / (1 - ZERO["b1"])))
    assert_near(first[2][[0, 2]], torch.zeros(2))
    second = torch.autograd.grad(sum(f.sum() for f in first), (g, m, v), create_graph=True)
    third = torch.autograd.grad(sum(s.sum() for s in second), (g, m, v))
    assert all(torch.isfinite(each).all() for each in (*second, *third))


def test_at_the_first_step_the_derivative_at_zero_is_scale_over_eps():
    assert _slope_at_zero(1) == pytest.approx(ZERO["scale"] / ZERO["eps"])


def test_a_zero_gradient_keeps_its_value_under_torch_func():
    def update(g):
        zero = torch.zeros(2)
        return ops.adam([g], [zero], [zero], torch.tensor([1]), **ZERO)[0][0]

    g = torch.zeros(2)
    expected = torch.eye(2) * _slope_at_zero(1)
    assert_near(torch.func.jacrev(update)(g), expected)
    assert_near(torch.func.jacfwd(update)(g), expected)
    assert torch.isfinite(torch.func.jacfwd(torch.func.jacrev(update))(g)).all()


@adams
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_kernel_and_the_reference_agree(name, dtype):
    kernel = KERNELS[name]
    grads, states, count = leaves(kernel, dtype=dtype)
    lists = (grads, *states, count)
    assert_near(
        flat(kernel.raw("")(*lists, *kernel.numbers)),
        flat(adam_reference(*lists, *kernel.numbers)),
        dtype,
    )
    cotangents = [[torch.rand_like(t) for t in each] for each in (grads, *states)]
    lists = (*cotangents, *lists)
    found = flat(kernel.raw("_vjp")(*lists, *kernel.numbers))
    expected = flat(adam_vjp_reference(*lists, *kernel.numbers))
    assert_near(found, expected, dtype)


@adams
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("maximize", [False, True])
def test_the_step_in_place(name, dtype, decoupled, maximize):
    kernel, decay = KERNELS[name], 0.1
    grads, states, count = leaves(kernel, dtype=dtype)
    params = [torch.randn_like(g) for g in grads]
    wide = [[t.to(state_of(dtype)) for t in each] for each in (params, grads)]
    signed = [-g if maximize else g for g in wide[1]]
    if not decoupled:
        signed = [g + decay * p for g, p in zip(signed, wide[0])]
    updates, *new = kernel.plain(signed, states, count)
    if decoupled:
        updates = [u + ADAM["scale"] * decay * p for u, p in zip(updates, wide[0])]
    expected = [[(p + u).to(dtype) for p, u in zip(wide[0], updates)], *new]
    versions = [t._version for t in flat([params, *states])]
    ops.adam_(
        params, grads, *states, count, **kernel.hyper,
        weight_decay=decay, decoupled=decoupled, maximize=maximize,
    )  # fmt: skip
    assert_near(flat([params, *states]), flat(expected), dtype)
    assert all(t._version > v for t, v in zip(flat([params, *states]), versions))


def test_the_step_in_place_writes_what_is_not_contiguous():
    p, m, v = (torch.zeros(4, 3).T for _ in range(3))
    g = torch.rand(3, 4)
    arguments = {**ADAM, "weight_decay": 0.0, "decoupled": False, "maximize": False}
    ops.adam_([p], [g], [m], [v], torch.tensor([1]), **arguments)
    assert_near((m, v), (0.1 * g, 0.01 * g**2))
    assert_near(p, torch.full((3, 4), -0.1), torch.float32)


def test_bias_correction_is_float64():
    # 1 - 0.999^t in float32 is 2e-5 off, which a "float64" Adam must not be.
    hyper = {**ADAM, "b2": 0.999}
    g, m, v = torch.tensor([0.3]), torch.tensor([0.2]), torch.tensor([0.1])
    u, _, _ = ops.adam([g], [m], [v], torch.tensor([10]), **hyper)
    m, v = 0.9 * 0.2 + 0.1 * 0.3, 0.999 * 0.1 + 0.001 * 0.09
    expected = -0.1 * m / (1 - 0.9**10) / ((v / (1 - 0.999**10)) ** 0.5 + 1e-8)
    assert float(u[0]) == pytest.approx(expected, rel=1e-13)


LEARNED = ("b1", "b2", "eps", "eps_root", "scale")


@pytest.mark.parametrize("which", LEARNED)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_hyper_parameters_that_are_tensors_have_gradients(which, dtype):
    hyper = {**ADAM, "eps": 1e-2, "eps_root": 1e-2}
    grads, states, count = leaves(KERNELS["adam"], dtype=dtype)

    def total(value, kind):
        wide = [[t.to(kind) for t in each] for each in (grads, *states)]
        parts = ops.adam(*wide, count, **{**hyper, which: value})
        assert all(t.dtype is kind for t in flat(parts))
        return sum((t.double() * (i + 1)).sum() for i, t in enumerate(flat(parts)))

    value = torch.tensor(hyper[which], requires_grad=True)  # float64, whatever the leaves are
    found = float(torch.autograd.grad(total(value, dtype), value)[0])
    h = 1e-4
    slopes = [
        (total(hyper[which] + s, torch.float64) - total(hyper[which] - s, torch.float64)) / (2 * s)
        for s in (h, h / 2)
    ]
    expected = float((4 * slopes[1] - slopes[0]) / 3)
    assert found == pytest.approx(expected, rel=1e-6 if dtype is torch.float64 else 1e-3)


WRONG = {
    "mu": lambda g, m, v, t: ([g, g], [m], [v, v], torch.tensor([1, 1])),
    "nu": lambda g, m, v, t: ([g], [m], [], t),
    "count": lambda g, m, v, t: ([g], [m], [v], torch.tensor([1, 2])),
    "count ": lambda g, m, v, t: ([g], [m], [v], torch.tensor([1.0])),
    "count  ": lambda g, m, v, t: ([g], [m], [v], torch.tensor(1)),
    "mu[0]": lambda g, m, v, t: ([g], [m[:2]], [v], t),
    "nu[0]": lambda g, m, v, t: ([g], [m], [v.float()], t),
    "mu[0] ": lambda g, m, v, t: ([g.bfloat16()], [m.bfloat16()], [v.float()], t),
    "grads[0]": lambda g, m, v, t: ([g.long()], [m.long()], [v.long()], t),
    "grads[0] ": lambda g, m, v, t: ([g + 0j], [m + 0j], [v + 0j], t),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments_are_named_and_nothing_is_written(name):
    g, m, v, t = torch.ones(3), torch.zeros(3), torch.zeros(3), torch.tensor([1])
    grads, mu, nu, count = WRONG[name](g, m, v, t)
    message = rf"^`{name.strip()}` must".replace("[", r"\[").replace("]", r"\]")
    with pytest.raises(ValueError, match=message):
        ops.adam(grads, mu, nu, count, **ADAM)
    params = [torch.zeros_like(grad) for grad in grads]
    arguments = {**ADAM, "weight_decay": 0.0, "decoupled": False, "maximize": False}
    with pytest.raises(ValueError, match=message):
        ops.adam_(params, grads, mu, nu, count, **arguments)
    assert not any(tensor.any() for tensor in (*params, *mu, *nu))


def test_the_wrong_parameter_is_named():
    g, zero = torch.ones(3), torch.zeros(3)
    arguments = {**ADAM, "weight_decay": 0.0, "decoupled": False, "maximize": False}
    for params in ([zero[:2]], [zero.float()]):
        with pytest.raises(ValueError, match=r"^`params\[0\]` must"):
            ops.adam_(params, [g], [zero], [zero], torch.tensor([1]), **arguments)
