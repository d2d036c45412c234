"""The Adam update with its backward: (u, m', v') differentiated by (g, m, v).

Floor: 15 words an element (forward reads g, m, v and writes u, m', v'; backward reads three
cotangents and g, m', v' and writes three gradients), that is 240 MB for 4 x 1,000,000 float32.
``copy-floor`` copies that many bytes on this machine, in the same run.

``flatten`` is the same update on one vector, with its moments packed from step to step
(:func:`metaphys.transform.flatten`, ``optax.flatten``): 200 gradients and two vectors.

The results meet in one scalar, whose backward hands out the cotangents, and only that scalar is
differentiated; ``autograd-floor`` does that with the inputs themselves.

torch.optim has no differentiable update; its row is the forward step alone, in place, by its
fastest CPU implementation, beside ours.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

import metaphys
from benchmarks import jaxed
from benchmarks.roots import pulled_back
from metaphys import ops

SIZES = {"4x1M": (4, 1_000_000), "200x256": (200, 256)}
ROUNDS = {"4x1M": 60, "200x256": 100}


def _tensors(count: int, size: int) -> tuple[list[torch.Tensor], ...]:
    grads = [torch.randn(size, requires_grad=True) for _ in range(count)]
    mu = [torch.randn(size, requires_grad=True) for _ in range(count)]
    nu = [torch.rand(size, requires_grad=True) for _ in range(count)]
    return grads, mu, nu


def _native(count: int, size: int) -> Callable[[], object]:
    grads, mu, nu = _tensors(count, size)
    steps = torch.full((count,), 3)

    def update() -> tuple[torch.Tensor, ...]:
        outputs = ops.adam(grads, mu, nu, steps, b1=0.9, b2=0.999, eps=1e-8)
        return tuple(tensor for each in outputs for tensor in each)

    return pulled_back(update, (*grads, *mu, *nu))


def _flattened(count: int, size: int) -> Callable[[], object]:
    grads = _tensors(count, size)[0]
    (mu,), (nu,) = ([torch.rand(count * size, requires_grad=True)] for _ in range(2))
    rule = metaphys.transform.flatten(metaphys.transform.scale_by_adam(eps=1e-8))
    first = rule.init(grads)
    inner = first.held["inner"]._replace(mu=(mu,), nu=(nu,), count=torch.tensor([2]))
    state = first._replace(held={**first.held, "inner": inner})

    def update() -> tuple[torch.Tensor, ...]:
        updates, new = rule.update(grads, state)
        moments = new.held["inner"]
        return (*updates, *moments.mu, *moments.nu)

    return pulled_back(update, (*grads, mu, nu))


def _torchopt(count: int, size: int, *, accelerated: bool) -> Callable[[], object]:
    torchopt = pytest.importorskip("torchopt")
    if accelerated and not _torchopt_kernel_loads():
        pytest.skip("TorchOpt's accelerated kernel does not load with this torch")
    grads, mu, nu = _tensors(count, size)
    make = (
        torchopt.transform.scale_by_accelerated_adam
        if accelerated
        else (torchopt.transform.scale_by_adam)
    )
    transform = make(b1=0.9, b2=0.999, eps=1e-8)
    first = transform.init(grads)
    state = type(first)(mu=mu, nu=nu, count=[torch.full((1,), 2) for _ in grads])

    def update() -> tuple[torch.Tensor, ...]:
        updates, new = transform.update(grads, state, inplace=False)
        return (*updates, *new.mu, *new.nu)

    return pulled_back(update, (*grads, *mu, *nu))


def _autograd(count: int, size: int) -> Callable[[], object]:
    inputs = tuple(tensor for each in _tensors(count, size) for tensor in each)
    return pulled_back(lambda: inputs, inputs)


def _torchopt_kernel_loads() -> bool:
    try:
        from torchopt import _C  # noqa: F401  # pyright: ignore
    except ImportError:
        return False
    return True


def _copy(count: int, size: int) -> Callable[[], object]:
    source = torch.randn(15 * count * size // 2)
    target = torch.empty_like(source)
    return lambda: target.copy_(source)


PEERS: dict[str, Callable[[int, int], Callable[[], object]]] = {
    "metaphys": _native,
    "metaphys-flatten": _flattened,
    "torchopt": lambda n, size: _torchopt(n, size, accelerated=False),
    "torchopt-accelerated": lambda n, size: _torchopt(n, size, accelerated=True),
    "optax-jit": jaxed.adam_update,
    "optax-flatten-jit": jaxed.flattened_adam_update,
    "copy-floor": _copy,
    "autograd-floor": _autograd,
}


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("size", SIZES)
def test_adam_update_and_backward(benchmark, size: str, peer: str) -> None:
    benchmark.group = f"Adam update with backward, {size}"
    run = PEERS[peer](*SIZES[size])
    benchmark.pedantic(run, rounds=ROUNDS[size], warmup_rounds=10)


OPTIMIZERS: dict[str, Callable[[list[torch.Tensor]], torch.optim.Optimizer]] = {
    "metaphys": lambda p: metaphys.Adam(p),
    "torch-foreach": lambda p: torch.optim.Adam(p, foreach=True),
    "torch-fused": lambda p: torch.optim.Adam(p, fused=True),
}


@pytest.mark.parametrize("peer", OPTIMIZERS)
@pytest.mark.parametrize("size", SIZES)
def test_adam_step_in_place(benchmark, size: str, peer: str) -> None:
    benchmark.group = f"Adam step in place, {size}"
    count, numel = SIZES[size]
    params = [torch.randn(numel, requires_grad=True) for _ in range(count)]
    for param in params:
        param.grad = torch.randn(numel)
    optimizer = OPTIMIZERS[peer](params)
    benchmark.pedantic(optimizer.step, rounds=ROUNDS[size], warmup_rounds=3)
