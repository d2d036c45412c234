"""SGD's operator: the step in place, step counts, wrong arguments."""

# pyright: reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false
# pyright: reportOptionalSubscript=false, reportUnusedExpression=false

from __future__ import annotations

import pytest
import torch

from metaphys import ops
from metaphys.ops.sgd import sgd_reference, sgd_vjp_reference
from tests.tables import DTYPES, KERNELS, SGD, assert_near, flat, leaves, state_of

sgds = pytest.mark.parametrize("name", [n for n in KERNELS if KERNELS[n].kind == "sgd"])


@sgds
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_kernel_and_the_reference_agree(name, dtype):
    kernel = KERNELS[name]
    grads, states, count = leaves(kernel, dtype=dtype)
    lists = (grads, *(states or [[]]))
    assert_near(
        flat(kernel.raw("")(*lists, count, *kernel.numbers)),
        flat(sgd_reference(*lists, count, *kernel.numbers)),
        dtype,
    )
    assert_near(
        flat(kernel.raw("_vjp")(*lists, count, *kernel.numbers)),
        flat(sgd_vjp_reference(*lists, count, *kernel.numbers)),
        dtype,
    )


@sgds
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("maximize", [False, True])
def test_the_step_in_place(name, dtype, maximize):
    kernel, decay = KERNELS[name], 0.1
    grads, states, count = leaves(kernel, dtype=dtype)
    params = [torch.randn_like(g) for g in grads]
    wide = [[t.to(state_of(dtype)) for t in each] for each in (params, grads)]
    signed = [(-g if maximize else g) + decay * p for p, g in zip(*wide)]
    updates, *new = kernel.plain(signed, states, count)
    expected = [[(p + u).to(dtype) for p, u in zip(wide[0], updates)], *new]
    written = flat([params, *states])
    versions = [t._version for t in written]
    lists = (params, grads, *(states or [[]]))
    ops.sgd_(*lists, count, **kernel.hyper, weight_decay=decay, maximize=maximize)
    assert_near(written, flat(expected), dtype)
    assert all(t._version > v for t, v in zip(written, versions))


def test_dampening_starts_at_the_second_step_of_each_leaf():
    ones = [torch.ones(1)] * 2
    hyper = {**SGD, "momentum": 0.5, "dampening": 0.25, "scale": 1.0}
    _, trace = ops.sgd(ones, ones, torch.tensor([1, 2]), **hyper)
    assert [float(b) for b in trace] == [1.5, 1.25]


@pytest.mark.parametrize("which", ["momentum", "dampening", "scale"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_hyper_parameters_that_are_tensors_have_gradients(which, dtype):
    hyper = {**SGD, "dampening": 0.2}
    grads, states, count = leaves(KERNELS["sgd-momentum"], dtype=dtype)

    def total(value):
        parts = ops.sgd(grads, *states, count, **{**hyper, which: value})
        assert all(t.dtype is dtype for t in flat(parts))
        return sum((t.double() * (i + 1)).sum() for i, t in enumerate(flat(parts)))

    value = torch.tensor(hyper[which], dtype=torch.float64, requires_grad=True)
    found = float(torch.autograd.grad(total(value), value)[0])
    # Each enters linearly, so that one central difference is exact.
    expected = float(total(hyper[which] + 0.5) - total(hyper[which] - 0.5))
    assert found == pytest.approx(expected, rel=1e-9 if dtype is torch.float64 else 1e-4)


WRONG = {
    "trace": lambda g, b, t: ([g, g], [b], torch.tensor([1, 1])),
    "count": lambda g, b, t: ([g], [b], torch.tensor([1, 2])),
    "count ": lambda g, b, t: ([g], [b], t.int()),
    "trace[0]": lambda g, b, t: ([g], [b[:2]], t),
    "trace[0] ": lambda g, b, t: ([g], [b.float()], t),
    "grads[0]": lambda g, b, t: ([g.int()], [b.int()], t),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments_are_named_and_nothing_is_written(name):
    grads, trace, count = WRONG[name](torch.ones(3), torch.zeros(3), torch.tensor([1]))
    message = rf"^`{name.strip()}` must".replace("[", r"\[").replace("]", r"\]")
    with pytest.raises(ValueError, match=message):
        ops.sgd(grads, trace, count, **SGD)
    params = [torch.zeros_like(grad) for grad in grads]
    with pytest.raises(ValueError, match=message):
        ops.sgd_(params, grads, trace, count, **SGD, weight_decay=0.0, maximize=False)
    assert not any(tensor.any() for tensor in (*params, *trace))
