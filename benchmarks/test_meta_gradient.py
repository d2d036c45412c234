"""Five MetaSGD or MetaAdam steps and the gradient of the loss after them by the start.

Tanh MLPs of 0.7k, 33k and 0.8M parameters, batch 64, mean squared error. ``bare`` is the same
unroll with plain gradient descent written by hand, with no optimizer: what the network costs.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.func import functional_call

import metaphys
from benchmarks import jaxed

STEPS = 5
NETS = {"0.7k": (10, 32, 10), "33k": (64, 128, 128, 64), "0.8M": (256, 512, 512, 512, 256)}
ROUNDS = {"0.7k": 300, "33k": 40, "0.8M": 9}


def _mlp(sizes: tuple[int, ...]) -> nn.Module:
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.Tanh()]
    return nn.Sequential(*layers[:-1])


def _problem(net: str) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    sizes = NETS[net]
    return _mlp(sizes), torch.randn(64, sizes[0]), torch.randn(64, sizes[-1])


def _library(library: Any, optimizer: str, net: str) -> Callable[[], object]:
    module, x, y = _problem(net)
    inner = getattr(library, optimizer)(module, lr=1e-2)
    start, state = library.extract_state_dict(module), library.extract_state_dict(inner)
    params = list(module.parameters())

    def loss() -> torch.Tensor:
        return ((module(x) - y) ** 2).mean()

    def run() -> object:
        for _ in range(STEPS):
            inner.step(loss())
        grads = torch.autograd.grad(loss(), params)
        library.recover_state_dict(module, start)
        library.recover_state_dict(inner, state)
        return grads

    return run


def _bare(optimizer: str, net: str) -> Callable[[], object]:
    module, x, y = _problem(net)
    names = [name for name, _ in module.named_parameters()]
    start = list(module.parameters())

    def loss(params: list[torch.Tensor]) -> torch.Tensor:
        return ((functional_call(module, dict(zip(names, params)), (x,)) - y) ** 2).mean()

    def run() -> object:
        params: list[torch.Tensor] = list(start)
        for _ in range(STEPS):
            grads = torch.autograd.grad(loss(params), params, create_graph=True)
            params = [param - 1e-2 * grad for param, grad in zip(params, grads)]
        return torch.autograd.grad(loss(params), start)

    return run


PEERS: dict[str, Callable[[str, str], Callable[[], object]]] = {
    "metaphys": lambda optimizer, net: _library(metaphys, optimizer, net),
    "torchopt": lambda optimizer, net: _library(pytest.importorskip("torchopt"), optimizer, net),
    "bare": _bare,
    "optax-jit": lambda optimizer, net: jaxed.meta_gradient(optimizer, NETS[net], STEPS),
}


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("optimizer", ["MetaSGD", "MetaAdam"])
@pytest.mark.parametrize("net", NETS)
def test_meta_gradient(benchmark, net: str, optimizer: str, peer: str) -> None:
    benchmark.group = f"5 steps of {optimizer}, {net} parameters"
    run = PEERS[peer](optimizer, net)
    # Half a second, so that who is first in the process does not pay for its start.
    benchmark.pedantic(run, rounds=ROUNDS[net], warmup_rounds=max(9, ROUNDS[net] // 2))
