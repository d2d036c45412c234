"""Kernels and their derivatives against the plain statement, under everything torch can do."""

# pyright: reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false
# pyright: reportOptionalSubscript=false, reportUnusedExpression=false

from __future__ import annotations

import threading

import pytest
import torch
from torch.autograd import forward_ad, gradcheck, gradgradcheck
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vjp, vmap

from metaphys.ops import _fused
from tests.tables import DTYPES, KERNELS, assert_near, flat, leaves, state_of, tolerance

kernels = pytest.mark.parametrize("name", KERNELS)
# Rules that are one function of a leaf share everything but that function, whose derivatives are
# looked at in all of them: the transforms of torch.func see the one with the most moments.
PLUMBING = [n for n in KERNELS if KERNELS[n].kind != "leaf" or n == "rmsprop-centered-momentum"]
plumbing = pytest.mark.parametrize("name", PLUMBING)


def _of(kernel, how):
    """``call`` or ``plain`` as a function of a flat tuple of tensors."""
    grads, states, count = leaves(kernel)
    n = len(grads)

    def function(*tensors):
        parts = [list(tensors[i : i + n]) for i in range(0, len(tensors), n)]
        return flat(getattr(kernel, how)(parts[0], parts[1:], count))

    inputs = tuple(t.clone().requires_grad_() for t in flat([grads, *states]))
    return function, inputs


# Values -------------------------------------------------------------------------------------


@kernels
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_values_are_those_of_the_plain_statement(name, dtype):
    kernel = KERNELS[name]
    grads, states, count = leaves(kernel, dtype=dtype)
    found = kernel.call(grads, states, count)
    wide = kernel.plain([g.to(state_of(dtype)) for g in grads], states, count)
    expected = [[u.to(dtype) for u in wide[0]], *wide[1:]]
    assert_near(flat(found), flat(expected), dtype)


@kernels
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_first_derivative_in_every_dtype(name, dtype):
    kernel = KERNELS[name]
    grads, states, count = leaves(kernel, dtype=dtype)
    inputs = [t.requires_grad_() for t in flat([grads, *states])]
    found = flat(kernel.call(grads, states, count))
    cotangents = [torch.rand_like(t) for t in found]
    got = torch.autograd.grad(found, inputs, cotangents)
    wide = [t.detach().double().requires_grad_() for t in inputs]
    parts = [wide[i : i + len(grads)] for i in range(0, len(wide), len(grads))]
    plain = flat(kernel.plain(parts[0], parts[1:], count))
    expected = torch.autograd.grad(plain, wide, [c.double() for c in cotangents])
    loose = tolerance(dtype)
    for a, b in zip(got, expected):
        assert a.dtype in (dtype, state_of(dtype))
        # Half precision loses what it cancels: errors count against the largest entry.
        scale = 1.0 if dtype in (torch.float64, torch.float32) else float(b.abs().max()) + 1
        torch.testing.assert_close(
            a.double(), b, rtol=10 * loose["rtol"], atol=10 * loose["atol"] * scale
        )


@kernels
def test_what_is_not_finite_goes_where_it_goes_in_the_reference(name, monkeypatch):
    kernel, count = KERNELS[name], torch.tensor([1, 4, 2])
    odd = torch.tensor([float("nan"), float("inf"), -float("inf"), 0.0, 1.0])
    inputs = [[odd, torch.ones(5), torch.zeros(5)]]
    for index in range(kernel.states):
        inputs.append([torch.ones(5), odd.abs() if index == 0 else torch.ones(5), torch.zeros(5)])
    found = flat(kernel.call(inputs[0], inputs[1:], count))
    monkeypatch.setattr(_fused, "wants_reference", lambda *_: True)
    expected = flat(kernel.call(inputs[0], inputs[1:], count))
    torch.testing.assert_close(found, expected, equal_nan=True)
    assert found[0][0].isnan()


@kernels
def test_mixed_dtypes_in_one_list(name):
    kernel = KERNELS[name]
    every = [leaves(kernel, dtype=dtype) for dtype in DTYPES]
    grads = [g for each in every for g in each[0]]
    states = [[t for each in every for t in each[1][i]] for i in range(kernel.states)]
    found = kernel.call(grads, states, torch.cat([each[2] for each in every]))
    alone = [kernel.call(*each) for each in every]
    for i, part in enumerate(found):
        torch.testing.assert_close(list(part), [t for each in alone for t in each[i]])


LAYOUTS = {
    "expanded": lambda: torch.rand(()).expand(3, 4),
    "expanded-row": lambda: torch.rand(4).expand(3, 4),
    "transposed": lambda: torch.rand(4, 3).T,
    "strided": lambda: torch.rand(6, 8)[::2, ::2],
    "channels-last": lambda: torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last),
    "empty": lambda: torch.rand(0, 3),
    "scalar": lambda: torch.rand(()),
    "offset": lambda: torch.rand(11)[3:],
}


@plumbing
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("where", ["grads", "states", "cotangents"])
def test_any_layout(name, layout, where):
    kernel, make = KERNELS[name], LAYOUTS[layout]

    def pair(here):
        return [make() if where == here else torch.rand(make().shape), torch.rand(make().shape)]

    grads = pair("grads")
    states = [pair("states") for _ in range(kernel.states)]
    count = torch.tensor([1, 4])
    inputs = [t.detach().requires_grad_() for t in flat([grads, *states])]
    parts = [inputs[i : i + 2] for i in range(0, len(inputs), 2)]
    found = flat(kernel.call(parts[0], parts[1:], count))
    expected = flat(kernel.plain(parts[0], parts[1:], count))
    assert_near(found, expected)
    cotangents = [make() if where == "cotangents" else torch.randn_like(t) for t in found]
    assert_near(
        torch.autograd.grad(found, inputs, cotangents),
        torch.autograd.grad(expected, inputs, cotangents),
    )


def test_step_counts_of_any_layout():
    kernel = KERNELS["adam"]
    grads, states, _ = leaves(kernel)
    for count in (torch.tensor([2]).expand(3), torch.tensor([2, 0, 2, 0, 2, 0])[::2]):
        found = kernel.call(grads, states, count)
        assert_near(flat(found), flat(kernel.plain(grads, states, count)))


@kernels
def test_no_tensors_at_all(name):
    kernel = KERNELS[name]
    empty = [[] for _ in range(kernel.states)]
    parts = kernel.call([], empty, torch.zeros(0, dtype=torch.int64))
    assert all(len(part) == 0 for part in parts)


# A chunk of the native kernels has 16,384 elements.
@kernels
@pytest.mark.parametrize(
    "sizes",
    [(16383,), (16385, 1, 0, 49153), (7,) * 300],
    ids=["below-a-chunk", "over-chunks", "many-small"],
)
def test_many_chunks_and_threads(name, sizes):
    kernel = KERNELS[name]
    grads = [torch.randn(n) for n in sizes]
    states = [[torch.rand(n) for n in sizes] for _ in range(kernel.states)]
    count = torch.arange(1, 1 + len(sizes))
    inputs = [t.requires_grad_() for t in flat([grads, *states])]
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found = flat(kernel.call(grads, states, count))
        results.append((found, torch.autograd.grad(sum(t.sin().sum() for t in found), inputs)))
    torch.set_num_threads(1)
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=0)
    plain = flat(kernel.plain(grads, states, count))
    assert_near(results[0][0], plain)
    assert_near(results[0][1], torch.autograd.grad(sum(t.sin().sum() for t in plain), inputs))


def test_threads_of_python_do_not_disturb_each_other():
    kernel = KERNELS["adam"]
    inputs = leaves(kernel, shapes=((1000,), (17, 3), ()))
    expected = flat(kernel.call(*inputs))
    failures = []

    def work():
        for _ in range(50):
            found = flat(kernel.call(*inputs))
            if not all(torch.equal(a, b) for a, b in zip(found, expected)):
                failures.append(found)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


@kernels
def test_arguments_are_never_written(name):
    kernel = KERNELS[name]
    grads, states, count = leaves(kernel)
    inputs = flat([grads, *states, [count]])
    before = [(t.clone(), t._version) for t in inputs]
    kernel.call(grads, states, count)
    for tensor, (value, version) in zip(inputs, before):
        assert torch.equal(tensor, value) and tensor._version == version


# Derivatives --------------------------------------------------------------------------------


@kernels
def test_first_and_second_derivative(name):
    function, inputs = _of(KERNELS[name], "call")
    assert gradcheck(function, inputs, check_batched_grad=True)
    assert gradcheck(function, inputs, check_forward_ad=True, check_backward_ad=False)
    assert gradgradcheck(function, inputs)


@kernels
def test_third_derivative(name):
    def third(how):
        torch.manual_seed(1)
        function, inputs = _of(KERNELS[name], how)
        value = sum((i + 1) * t.sin().sum() for i, t in enumerate(function(*inputs)))
        for _ in range(3):
            grads = torch.autograd.grad(value, inputs, create_graph=True)
            value = sum((i + 2) * t.pow(2).sum() for i, t in enumerate(grads))
        return (value, *torch.autograd.grad(value, inputs))

    assert_near(third("call"), third("plain"))


@kernels
def test_a_derivative_wanted_of_some_inputs_only(name):
    kernel = KERNELS[name]
    grads, states, count = leaves(kernel)
    grads[1].requires_grad_()
    found = flat(kernel.call(grads, states, count))
    expected = flat(kernel.plain(grads, states, count))
    value = [sum(t.sin().sum() for t in each) for each in (found, expected)]
    got = torch.autograd.grad(value[0], grads[1], create_graph=True)[0]
    truth = torch.autograd.grad(value[1], grads[1], create_graph=True)[0]
    assert_near(got, truth)
    assert_near(
        torch.autograd.grad(got.sum(), grads[1], allow_unused=True),
        torch.autograd.grad(truth.sum(), grads[1], allow_unused=True),
    )


@kernels
def test_no_graph_where_none_is_wanted(name):
    function, inputs = _of(KERNELS[name], "call")
    with torch.no_grad():
        assert not any(t.requires_grad for t in function(*inputs))
    with torch.inference_mode():
        assert all(t.is_inference() for t in function(*(t.detach() for t in inputs)))
    assert not any(t.requires_grad for t in function(*(t.detach() for t in inputs)))


# torch.func ---------------------------------------------------------------------------------


def _vector(kernel, how):
    """R^3 → R^n through every argument of a kernel."""

    def function(x):
        grads = [x.sin(), (x[:2] * x[1:]).reshape(1, 2), x.sum()]
        scaled = [1.0 + x.cos(), (2 + x[:2] ** 2).reshape(1, 2), x.exp().sum()]
        states = [[s * (i + 1) for s in scaled] for i in range(kernel.states)]
        parts = getattr(kernel, how)(grads, states, torch.tensor([1, 3, 2]))
        return torch.cat([t.reshape(-1) for t in flat(parts)])

    return function


def _scalar(F):
    weights = torch.linspace(-1.0, 2.0, 40)
    return lambda x: (weights[: len(y := F(x))] * y.sin()).sum()


X = torch.tensor([0.3, -0.7, 1.1], dtype=torch.float64)
T = torch.tensor([1.0, 0.5, -2.0], dtype=torch.float64)
XS = torch.stack([X, X + 0.1, 2 * X, -X])
XSS = torch.stack([XS, XS + 0.05])

TRANSFORMS = {
    "grad": lambda F: grad(_scalar(F))(X),
    "vjp": lambda F: vjp(F, X)[1](F(X).cos()),
    "jvp": lambda F: jvp(F, (X,), (T,)),
    "jacrev": lambda F: jacrev(F)(X),
    "jacfwd": lambda F: jacfwd(F)(X),
    "hessian": lambda F: hessian(_scalar(F))(X),
    "vmap": lambda F: vmap(F)(XS),
    "vmap-in-1": lambda F: vmap(F, in_dims=1, out_dims=1)(XS.T),
    "vmap-vmap": lambda F: vmap(vmap(F))(XSS),
    "vmap-grad": lambda F: vmap(grad(_scalar(F)))(XS),
    "grad-vmap": lambda F: grad(lambda xs: vmap(_scalar(F))(xs).pow(2).sum())(XS),
    "grad-grad": lambda F: grad(lambda x: grad(_scalar(F))(x).pow(2).sum())(X),
    "grad-grad-grad": lambda F: grad(
        lambda x: grad(lambda y: grad(_scalar(F))(y).pow(2).sum())(x).sin().sum()
    )(X),
    "vmap-grad-grad": lambda F: vmap(grad(lambda x: grad(_scalar(F))(x).pow(2).sum()))(XS),
    "grad-vmap-grad": lambda F: grad(lambda xs: vmap(grad(_scalar(F)))(xs).pow(2).sum())(XS),
    "vmap-vmap-grad": lambda F: vmap(vmap(grad(_scalar(F))))(XSS),
    "jvp-grad": lambda F: jvp(grad(_scalar(F)), (X,), (T,)),
    "grad-jvp": lambda F: grad(lambda x: jvp(F, (x,), (T,))[1].pow(2).sum())(X),
    "jvp-jvp": lambda F: jvp(lambda x: jvp(F, (x,), (T,))[1], (X,), (T,)),
    "jvp-jvp-jvp": lambda F: jvp(
        lambda z: jvp(lambda x: jvp(F, (x,), (T,))[1], (z,), (T,))[1], (X,), (T,)
    ),
    "jvp-vmap": lambda F: jvp(vmap(F), (XS,), (XS.cos(),)),
    "vmap-jvp": lambda F: vmap(lambda x: jvp(F, (x,), (T,))[1])(XS),
    "jacfwd-jacfwd": lambda F: jacfwd(jacfwd(F))(X),
    "jacrev-jacrev": lambda F: jacrev(jacrev(F))(X),
    "jacrev-jacfwd": lambda F: jacrev(jacfwd(F))(X),
    "vmap-jacrev": lambda F: vmap(jacrev(F))(XS),
    "vmap-hessian": lambda F: vmap(hessian(_scalar(F)))(XS),
}


@plumbing
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_under_torch_func(name, transform):
    kernel = KERNELS[name]
    found = TRANSFORMS[transform](_vector(kernel, "call"))
    expected = TRANSFORMS[transform](_vector(kernel, "plain"))
    assert_near(found, expected)


@plumbing
def test_autograd_through_torch_func(name):
    def outer(how):
        x = X.clone().requires_grad_()
        inner = vmap(grad(_scalar(_vector(KERNELS[name], how))))(XS * x)
        first = torch.autograd.grad(inner.pow(2).sum(), x, create_graph=True)[0]
        return first, torch.autograd.grad(first.sin().sum(), x)[0]

    assert_near(outer("call"), outer("plain"))


MIXTURES = {
    "grads": (0, None, None),
    "states": (None, 0, None),
    "counts": (None, None, 0),
    "grads-counts": (0, None, 0),
    "everything": (0, 0, 0),
    "in-dim-1": (1, 1, None),
}


@pytest.mark.parametrize(
    "name, mixture",
    [(n, m) for n in PLUMBING for m in MIXTURES if m != "states" or KERNELS[n].states],
)
@pytest.mark.parametrize("differentiate", [False, True], ids=["value", "grad"])
def test_vmap_over_some_arguments(name, mixture, differentiate):
    kernel, dims = KERNELS[name], MIXTURES[mixture]
    batch = 3
    shape = (2, 2)
    sizes = [(*shape[:d], batch, *shape[d:]) if d is not None else shape for d in dims[:2]]
    g = torch.randn(sizes[0])
    states = [torch.rand(sizes[1]) + 0.1 for _ in range(kernel.states)]
    t = torch.tensor([[1], [3], [2]]) if dims[2] == 0 else torch.tensor([2])

    def of(how):
        def one(g, states, t):
            if not differentiate:
                return flat(getattr(kernel, how)([g], [[s] for s in states], t))
            total = lambda g, states: sum(  # noqa: E731
                o.sin().sum() for o in flat(getattr(kernel, how)([g], [[s] for s in states], t))
            )
            return grad(total, argnums=0)(g, states)

        return one

    found = vmap(of("call"), in_dims=dims)(g, states, t)
    take = lambda x, d, i: x if d is None else x.select(d, i)  # noqa: E731
    each = [
        of("plain")(take(g, dims[0], i), [take(s, dims[1], i) for s in states], take(t, dims[2], i))
        for i in range(batch)
    ]
    expected = torch.stack(each) if differentiate else tuple(map(torch.stack, zip(*each)))
    assert_near(found, expected)


@kernels
def test_dual_numbers(name):
    function, inputs = _of(KERNELS[name], "call")
    plain, _ = _of(KERNELS[name], "plain")
    inputs = [t.detach() for t in inputs]
    tangents = [torch.randn_like(t) for t in inputs]

    def tangents_of(how):
        with forward_ad.dual_level():
            outputs = how(*map(forward_ad.make_dual, inputs, tangents))
            return [forward_ad.unpack_dual(t).tangent for t in outputs]

    torch.manual_seed(0)
    found = tangents_of(function)
    assert all(t is not None for t in found)
    # Both closures drew their own leaves, but the step counts are the same.
    assert_near(found, tangents_of(plain))


# torch.compile ------------------------------------------------------------------------------

COMPILED = {
    "value": lambda F: F,
    "grad": lambda F: grad(_scalar(F)),
    "vmap-grad": lambda F: lambda x: vmap(grad(_scalar(F)))(torch.stack([x, 2 * x])),
}


@pytest.mark.parametrize("name", ["adam", "sgd-nesterov", "rmsprop-centered", "nadam"])
@pytest.mark.parametrize("inside", COMPILED)
def test_compiles_without_graph_breaks(name, inside):
    kernel = KERNELS[name]
    compiled = torch.compile(
        COMPILED[inside](_vector(kernel, "call")), fullgraph=True, backend="aot_eager"
    )
    plain = COMPILED[inside](_vector(kernel, "plain"))
    results = []
    for function in (compiled, plain):
        x = X.clone().requires_grad_()
        y = function(x)
        results.append((y, torch.autograd.grad(y.sin().sum(), x)))
    assert_near(*results)


def test_inductor():
    kernel = KERNELS["adam"]
    compiled = torch.compile(grad(_scalar(_vector(kernel, "call"))), fullgraph=True)
    assert_near(compiled(X), grad(_scalar(_vector(kernel, "plain")))(X))
