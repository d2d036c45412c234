"""Whether kernels are there is said truthfully, and Adam's operator on one tensor is Adam's."""

# pyright: reportArgumentType=false, reportCallIssue=false

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

import metaphys
from metaphys.accelerated_op import AdamOp, accelerated_op_available
from tests.tables import plain_adam, tolerance

LOADED = metaphys.ops.status().loaded


def test_it_is_what_torch_would_dispatch_to():
    assert accelerated_op_available("cpu") is LOADED
    assert accelerated_op_available(torch.device("cpu")) is LOADED
    found = torch._C._dispatch_has_kernel_for_dispatch_key("metaphys::adam", "CPU")
    assert found is LOADED
    for device in ("meta", torch.device("meta"), ["cpu", "meta"], "xpu"):
        assert accelerated_op_available(device) is False
    if not torch.cuda.is_available():
        assert accelerated_op_available() is LOADED
        assert not any(map(accelerated_op_available, ("cuda", "cuda:0", 0, ["cpu", 0])))
    for wrong in (1.5, True, ["cpu", None]):
        with pytest.raises(TypeError, match=r"^`devices` must"):
            accelerated_op_available(wrong)


def test_without_the_library_it_says_so():
    code = "import metaphys; print(metaphys.accelerated_op_available('cpu'))"
    environment = {**os.environ, "METAPHYS_DISABLE_EXTENSION": "1"}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "False"


LAYOUTS = {
    "contiguous": lambda: torch.randn(3, 4),
    "transposed": lambda: torch.randn(4, 3).T,
    "expanded": lambda: torch.randn(3, 1).expand(3, 4),
}


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_values_for_every_layout(layout, inplace):
    grad, mu, nu = LAYOUTS[layout](), torch.randn(3, 4), torch.rand(3, 4)
    expected = plain_adam(grad.clone(), mu.clone(), nu.clone(), 3, 0.8, 0.95, 1e-3, 1e-4, 1.0)
    if inplace and layout == "expanded":
        grad = grad.contiguous()  # torch writes no expanded tensor
    op = AdamOp(0.8, 0.95, 1e-3, eps_root=1e-4, inplace=inplace)
    found = op(mu, nu, grad, torch.tensor(3))
    torch.testing.assert_close(
        found, (expected[1], expected[2], expected[0]), **tolerance(mu.dtype)
    )
    assert (found[0] is mu, found[2] is grad) == (inplace, inplace)


def test_derivatives_of_both_orders():
    inputs = tuple(
        t.requires_grad_() for t in (torch.randn(3), torch.rand(3) + 0.1, torch.randn(3))
    )
    op = AdamOp(eps=1e-3, eps_root=1e-3, inplace=False)

    def function(mu, nu, grad):
        return op(mu, nu, grad, 2)

    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)
    jacobian = torch.func.jacrev(lambda g: function(inputs[0], inputs[1], g)[2])(inputs[2])
    expected = torch.autograd.functional.jacobian(
        lambda g: plain_adam(g, *inputs[:2], 2, 0.9, 0.999, 1e-3, 1e-3, 1.0)[0], inputs[2]
    )
    torch.testing.assert_close(jacobian, expected)


def test_wrong_numbers_are_refused():
    for argument, kwargs in {"betas[0]": {"b1": 1.0}, "eps": {"eps": -1.0}}.items():
        with pytest.raises(ValueError) as caught:
            AdamOp(**kwargs)
        assert str(caught.value).startswith(f"`{argument}` must")
