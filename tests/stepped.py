"""Parameters, their gradients and steps of an optimizer, for tests of the stateful form."""

# pyright: reportArgumentType=false

from __future__ import annotations

import torch
from torch.nn import Parameter

from tests.tables import tolerance


def params_of(dtype=torch.float64, shapes=((3,), (2, 2), ())):
    """Parameters, the same at every call."""
    torch.manual_seed(3)
    return [Parameter(torch.randn(shape).to(dtype)) for shape in shapes]


def give_grads(params, seed=0):
    """Gradients by a seed."""
    generator = torch.Generator().manual_seed(seed)
    for p in params:
        p.grad = torch.randn(p.shape, generator=generator).to(p.dtype)


def take_steps(optimizer, params, n, first=0):
    """Some steps, each with gradients of its own."""
    for step in range(first, first + n):
        give_grads(params, step)
        optimizer.step()


def values_of(params):
    """Copies without a graph."""
    return [p.detach().clone() for p in params]


def assert_near(found, expected, dtype=torch.float64):
    """The same values, within the dtype's tolerance."""
    torch.testing.assert_close(values_of(found), values_of(expected), **tolerance(dtype))
