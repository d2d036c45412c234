"""The loop over time: its values, its derivatives, and what it keeps for them."""

# The transforms of torch.func hide what a function takes.
# pyright: reportCallIssue=false

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.func import grad, hessian, jacfwd, jacrev, vmap

from metaphys.physics._scan import scan


def body(carry, consts, x):
    """A driven pendulum, one step of Stoermer-Verlet; reads out the angle."""
    q, v = carry
    v = v + 0.1 * (x[0] - consts[0] * q.sin())
    q = q + 0.1 * v
    return (q, v), q * consts[0]


def start(steps, generator, size=3):
    carry = tuple(torch.randn(2, size, generator=generator))
    return carry, torch.rand(size, generator=generator), torch.randn(steps, 1, generator=generator)


def total(every):
    def function(q, v, const, xs):
        (q, v), ys = scan(body, (q, v), (const,), (xs,), every=every)
        return torch.cat([ys, q[None], v[None]])

    return function


@pytest.mark.parametrize("every", [None, 1, 3, 4, 7, 10, 100])
def test_every_segmentation_is_the_plain_loop(every, generator):
    (q, v), const, xs = start(10, generator)
    leaves = [t.requires_grad_() for t in (q, v, const, xs)]
    found, expected = total(every)(*leaves), total(100)(*leaves)
    assert found.equal(expected)
    weights = torch.randn(found.shape, generator=generator)
    grads = [torch.autograd.grad((weights * y.sin()).sum(), leaves) for y in (found, expected)]
    torch.testing.assert_close(*grads, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("check", [gradcheck, gradgradcheck])
def test_derivatives(check, generator):
    (q, v), const, xs = start(5, generator, size=2)
    assert check(total(2), [t.requires_grad_() for t in (q, v, const, xs)])


def loss(const, xs, start, every):
    return total(every)(*start, const, xs).square().sum()


TRANSFORMS = {
    "grad": grad(loss),
    "jacrev": jacrev(loss, argnums=1),
    "jacfwd": jacfwd(loss, argnums=1),
    "hessian": hessian(loss),
    "jacrev of grad": jacrev(grad(loss)),
    "jacfwd of jacfwd": jacfwd(jacfwd(loss)),
    "vmap of grad": vmap(grad(loss), in_dims=(0, None, None, None)),
    "grad of vmap": grad(lambda c, *rest: vmap(loss, (0, None, None, None))(c, *rest).sum()),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_torch_func(name, generator):
    carry, const, xs = start(7, generator)
    if "vmap" in name:
        const = torch.rand(2, 3, generator=generator)
    found, expected = (TRANSFORMS[name](const, xs, carry, every) for every in (3, 7))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-13)


def test_what_does_not_matter_has_a_gradient_of_zero(generator):
    (q, _), const, xs = start(5, generator)
    xs.requires_grad_()

    def deaf(carry, consts, x):
        return (carry[0].sin(),), carry[0] + consts[0]

    (last,), ys = scan(deaf, (q,), (const,), (xs,), every=2)
    found = torch.autograd.grad(ys.sum() + last.sum(), xs, retain_graph=True)
    again = torch.autograd.grad(ys.sum() + last.sum(), xs, create_graph=True)
    assert found[0].equal(torch.zeros(5, 1)) and again[0].equal(torch.zeros(5, 1))


def kept(steps, every):
    """Bytes that the graph of a scan holds, without its inputs."""
    generator = torch.Generator().manual_seed(0)
    (q, v), const, xs = start(steps, generator, size=50)
    q.requires_grad_()
    inputs = {t.untyped_storage().data_ptr() for t in (q, const, xs)}
    sizes = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        _, ys = scan(body, (q, v), (const,), (xs,), every=every)
    assert ys.requires_grad
    return sum(size for key, size in sizes.items() if key not in inputs)


def test_what_is_kept_grows_as_the_root_of_the_steps():
    # A carry is 2 tensors of 50; of a step of the plain loop one is kept, the angle in the sine.
    carry, angle = 2 * 50 * 8, 50 * 8
    for steps, root in ((64, 8), (1024, 32)):
        assert (root - 1) * carry <= kept(steps, None) <= root * carry
        assert (steps - 1) * angle <= kept(steps, steps) <= steps * angle


def test_without_a_gradient_nothing_is_kept(generator):
    (q, v), const, xs = start(9, generator)
    with torch.no_grad():
        (last, _), ys = scan(body, (q, v), (const,), (xs,))
    assert not last.requires_grad and ys.shape == (9, 3)
