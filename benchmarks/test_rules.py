"""Every rule: two updates with their backward, and the step in place.

Two updates from the start, so that the moments of the first are differentiated through by the
second; the updates of both steps meet in one scalar, whose gradients are those of both steps'
gradients. torch.optim has no differentiable update: its row, of the step in place, is its fastest
CPU implementation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import metaphys
from benchmarks.roots import pulled_back

SIZES = {"4x1M": (4, 1_000_000), "200x256": (200, 256)}
ROUNDS = {"4x1M": 10, "200x256": 30}
RULES: dict[str, dict[str, Any]] = {
    "sgd": {"lr": 0.1, "momentum": 0.9},
    "adamw": {"lr": 0.1},
    "rmsprop": {"lr": 0.1},
    "adagrad": {"lr": 0.1},
    "adamax": {"lr": 0.1},
    "adadelta": {"lr": 0.1},
    "radam": {"lr": 0.1},
    "nadam": {"lr": 0.1},
    "lion": {"lr": 0.1},
}


def _update(library: Any, rule: str, size: str) -> Callable[[], object]:
    if not hasattr(library, rule):
        pytest.skip(f"{library.__name__} has no {rule}")
    count, numel = SIZES[size]
    made = getattr(library, rule)(**RULES[rule])
    params = [torch.randn(numel) for _ in range(count)]
    first, second = ([torch.randn(numel, requires_grad=True) for _ in params] for _ in range(2))

    def updates() -> tuple[torch.Tensor, ...]:
        state = made.init(params)
        one, state = made.update(first, state, params=params, inplace=False)
        two, state = made.update(second, state, params=params, inplace=False)
        return (*one, *two)

    return pulled_back(updates, (*first, *second))


UPDATES: dict[str, Callable[[str, str], Callable[[], object]]] = {
    "metaphys": lambda rule, size: _update(metaphys, rule, size),
    "torchopt": lambda rule, size: _update(pytest.importorskip("torchopt"), rule, size),
}


@pytest.mark.parametrize("peer", UPDATES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("rule", RULES)
def test_two_updates_with_backward(benchmark, rule: str, size: str, peer: str) -> None:
    benchmark.group = f"Two updates of {rule} with backward, {size}"
    run = UPDATES[peer](rule, size)
    benchmark.pedantic(run, rounds=ROUNDS[size], warmup_rounds=2)


OPTIMIZERS: dict[str, tuple[Any, Any]] = {
    "SGD": (metaphys.SGD, torch.optim.SGD),
    "RMSprop": (metaphys.RMSprop, torch.optim.RMSprop),
    "Adagrad": (metaphys.Adagrad, torch.optim.Adagrad),
    "Adamax": (metaphys.Adamax, torch.optim.Adamax),
    "NAdam": (metaphys.NAdam, torch.optim.NAdam),
}


@pytest.mark.parametrize("peer", ["metaphys", "torch-foreach"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_step_in_place(benchmark, name: str, size: str, peer: str) -> None:
    benchmark.group = f"{name} step in place, {size}"
    ours, theirs = OPTIMIZERS[name]
    count, numel = SIZES[size]
    params = [torch.randn(numel, requires_grad=True) for _ in range(count)]
    for param in params:
        param.grad = torch.randn(numel)
    momentum = {"momentum": 0.9} if name == "SGD" else {}
    if peer == "metaphys":
        optimizer = ours(params, lr=1e-3, **momentum)
    else:
        optimizer = theirs(params, lr=1e-3, foreach=True, **momentum)
    benchmark.pedantic(optimizer.step, rounds=ROUNDS[size], warmup_rounds=2)
