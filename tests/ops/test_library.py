"""The native library: what it needs of libtorch, how its absence is told, what torch asks of it."""

# pyright: reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false
# pyright: reportOptionalSubscript=false, reportUnusedExpression=false

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import metaphys
from metaphys import ops
from metaphys.ops._library import DISABLE
from metaphys.ops.adam import adam_reference
from tests.tables import ADAM, DTYPES, KERNELS, assert_near, flat, leaves

PACKAGE = Path(metaphys.__file__).parent
LIBRARIES = sorted(PACKAGE.glob("_C*.so"))
kernels = pytest.mark.parametrize("name", KERNELS)


@pytest.mark.skipif(not LIBRARIES, reason="the extension is not built")
@pytest.mark.skipif(shutil.which("nm") is None, reason="nm is not installed")
def test_the_library_needs_only_the_stable_abi():
    command = ["nm", "-D", "--undefined-only", "-C", str(LIBRARIES[0])]
    symbols = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "aoti_torch" in symbols or "torch_" in symbols
    assert [line for line in symbols.splitlines() if "c10::" in line or "at::" in line] == []


def _status_with(value: str | None) -> list[str]:
    environment = {k: v for k, v in os.environ.items() if k != DISABLE}
    environment |= {} if value is None else {DISABLE: value}
    environment["PYTHONPATH"] = str(PACKAGE.parent)
    code = "import metaphys; s = metaphys.ops.status(); print(s.loaded); print(s.reason)"
    command = [sys.executable, "-W", "error", "-c", code]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return result.stdout.splitlines()


@pytest.mark.skipif(not LIBRARIES, reason="the extension is not built")
def test_the_library_is_loaded_where_it_is_built():
    loaded, reason = _status_with(None)
    assert loaded == "True" and LIBRARIES[0].name in reason


@pytest.mark.skipif(not LIBRARIES, reason="the extension is not built")
def test_a_library_of_older_sources_is_told():
    code = (
        "from metaphys.ops._library import LIBRARY\n"  # loads it; so that one is too few:
        "import metaphys.ops._library as library, warnings\n"
        "LIBRARY.define('newer(Tensor x) -> Tensor')\n"
        "with warnings.catch_warnings(record=True) as seen:\n"
        "    warnings.simplefilter('always')\n"
        "    print(library._load().reason)\n"
        "print(len(seen))\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != DISABLE}
    environment["PYTHONPATH"] = str(PACKAGE.parent)
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    reason, warned = result.stdout.splitlines()
    assert "older sources: in Python run metaphys::newer. Rebuild" in reason and warned == "1"


def test_the_switch_leaves_it_unloaded_and_says_so():
    loaded, reason = _status_with("1")
    assert loaded == "False" and DISABLE in reason


def test_status_of_this_process():
    disabled = os.environ.get(DISABLE, "") not in ("", "0")
    status = ops.status()
    assert status.loaded == (bool(LIBRARIES) and not disabled)
    assert status.reason
    natively = torch._C._dispatch_has_kernel_for_dispatch_key("metaphys::adam", "CPU")
    assert natively == status.loaded


@pytest.mark.skipif(not ops.status().loaded, reason="the extension is not loaded")
def test_the_kernels_check_what_they_are_given_by_direct_callers():
    g, m, count = torch.ones(3), torch.zeros(3), torch.tensor([1])
    raw, numbers = torch.ops.metaphys.adam.default, tuple(ADAM.values())
    wrong = {
        "mu": ([g], [], [m], count),
        "nu": ([g], [m], [m, m], count),
        "mu[0]": ([g], [m[:2]], [m], count),
        "nu[0]": ([g], [m], [m.float()], count),
        "grads[0]": ([g.long()], [m.long()], [m.long()], count),
        "count": ([g], [m], [m], torch.tensor([1, 2])),
    }
    for name, arguments in wrong.items():
        with pytest.raises(RuntimeError, match=f"`{name}`".replace("[", r"\[")):
            raw(*arguments, *numbers)


# Results ------------------------------------------------------------------------------------


def _step(sizes: list[tuple[int, ...]], dtypes: list[torch.dtype]):
    kept = [torch.float64 if d is torch.float64 else torch.float32 for d in dtypes]
    grads = [torch.randn(size).to(d) for size, d in zip(sizes, dtypes)]
    mu = [torch.randn(size).to(d) for size, d in zip(sizes, kept)]
    nu = [torch.rand(size).to(d) + 0.1 for size, d in zip(sizes, kept)]
    return grads, mu, nu, torch.arange(1, len(sizes) + 1)


shapes = st.lists(st.integers(0, 40), max_size=3).map(tuple)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(shapes, st.sampled_from(DTYPES)), max_size=40))
def test_lists_of_any_shapes_and_dtypes_get_results_of_their_own(leaves):
    arguments = _step([size for size, _ in leaves], [dtype for _, dtype in leaves])
    found = ops.adam(*arguments, **ADAM)
    expected = adam_reference(*arguments, **ADAM)
    spans = set()
    for mine, theirs in zip(found, expected):
        for a, b, (_, dtype) in zip(mine, theirs, leaves):
            assert a.dtype is b.dtype and a.shape == b.shape and a.is_contiguous()
            assert_near([a], [b], dtype)
            spans |= {(a.data_ptr(), a.data_ptr() + a.nbytes)} if a.numel() else set()
    ordered = sorted(spans)
    assert len(ordered) == sum(t.numel() > 0 for each in expected for t in each)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(ordered))


@pytest.fixture
def results():
    grads, mu, nu, count = _step([(3, 5), (7,), ()], [torch.float64] * 3)
    for tensor in (*grads, *mu, *nu):
        tensor.requires_grad_()
    return ops.adam(grads, mu, nu, count, **ADAM), (*grads, *mu, *nu)


def test_each_may_be_changed_in_place_and_leaves_the_others(results):
    (updates, mu, _), _ = results
    before = [u.detach().clone() for u in updates]
    updates[0].mul_(2)
    mu[1].data.zero_()
    assert_near([u.detach() for u in updates], [2 * before[0], *before[1:]])


def test_a_change_of_what_the_backward_needs_is_noticed(results):
    (updates, mu, _), inputs = results
    with torch.no_grad():
        mu[1].zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.grad(updates[0].sum(), inputs, allow_unused=True)


def test_each_may_be_detached_in_place(results):
    (_, mu, nu), _ = results
    for moment in (*mu, *nu):
        moment.detach_()
        assert moment.is_leaf and not moment._is_view()


def test_results_that_are_large_enough_for_huge_pages():
    sizes = [(1 << 19,), (1 << 10, (1 << 9) + 1), (3,)]
    arguments = _step(sizes, [torch.float32] * 3)
    assert_near(
        flat(ops.adam(*arguments, **ADAM)), flat(adam_reference(*arguments, **ADAM)), torch.float32
    )


# The registered operators -------------------------------------------------------------------


def _samples(kernel, dtype, requires_grad):
    grads, states, count = leaves(kernel, dtype=dtype)
    for tensor in flat([grads, *states]):
        tensor.requires_grad_(requires_grad)
    return grads, states, count


@kernels
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("requires_grad", [False, True])
def test_opcheck_of_the_forward(name, dtype, requires_grad):
    kernel = KERNELS[name]
    grads, states, count = _samples(kernel, dtype, requires_grad)
    arguments = kernel.arguments("", None, grads, states, count)
    torch.library.opcheck(kernel.raw(""), arguments)


@kernels
def test_opcheck_of_the_vector_jacobian_product(name):
    kernel = KERNELS[name]
    grads, states, count = _samples(kernel, torch.float64, False)
    arguments = kernel.arguments("_vjp", None, grads, states, count)
    checks = ["test_schema", "test_autograd_registration", "test_faketensor"]
    if kernel.kind == "leaf" and not ops.status().loaded:
        # Its Python form is torch.func.vjp, whose tensors have no storage for the modes of the
        # other checks to look at. Nobody traces it: what is compiled is the reference.
        checks = ["test_autograd_registration"]
    torch.library.opcheck(kernel.raw("_vjp"), arguments, test_utils=checks)


@kernels
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_opcheck_of_the_step_in_place(name, dtype):
    kernel = KERNELS[name]
    grads, states, count = _samples(kernel, dtype, False)
    params = [torch.randn_like(g) for g in grads]
    torch.library.opcheck(kernel.raw("_"), kernel.arguments("_", params, grads, states, count))


@kernels
def test_direct_callers_of_an_operator_get_its_derivative(name):
    kernel = KERNELS[name]
    grads, states, count = _samples(kernel, torch.float64, True)
    inputs = flat([grads, *states])
    valid = states if kernel.kind in ("adam", "sgd") else kernel.valid(states)
    raw = flat(kernel.raw("")(*kernel.arguments("", None, grads, valid, count)))
    plain = flat(kernel.plain(grads, states, count))
    found, expected = (
        torch.autograd.grad(sum(t.sin().sum() for t in each), inputs) for each in (raw, plain)
    )
    assert_near(found, expected)
