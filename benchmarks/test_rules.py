"""Every rule: two updates with their backward, and the step in place.

Two updates from the start, so that the moments of the first are differentiated through by the
second; the updates of both steps meet in one scalar, whose gradients are those of both steps'
gradients. ``copy-floor`` copies as many bytes as both updates have to move. torch.optim has no
differentiable update: its rows, of the step in place, are its CPU implementations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import metaphys
from benchmarks import jaxed
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
MOMENTS = {"sgd": 1, "rmsprop": 1, "adagrad": 1, "lion": 1}  # the others keep two


def _update(
    library: Any, rule: str, size: str, wrapped: Callable[[Any], Any] = lambda rule: rule
) -> Callable[[], object]:
    if not hasattr(library, rule):
        pytest.skip(f"{library.__name__} has no {rule}")
    count, numel = SIZES[size]
    made = wrapped(getattr(library, rule)(**RULES[rule]))
    params = [torch.randn(numel) for _ in range(count)]
    first, second = ([torch.randn(numel, requires_grad=True) for _ in params] for _ in range(2))

    def updates() -> tuple[torch.Tensor, ...]:
        state = made.init(params)
        one, state = made.update(first, state, params=params, inplace=False)
        two, state = made.update(second, state, params=params, inplace=False)
        return (*one, *two)

    return pulled_back(updates, (*first, *second))


def _copy(rule: str, size: str) -> Callable[[], object]:
    count, numel = SIZES[size]
    # Forward 2 (1 + K) words an element, backward 3 (1 + K), twice; a copy reads and writes.
    source = torch.randn(5 * (1 + MOMENTS.get(rule, 2)) * count * numel)
    target = torch.empty_like(source)
    return lambda: target.copy_(source)


UPDATES: dict[str, Callable[[str, str], Callable[[], object]]] = {
    "metaphys": lambda rule, size: _update(metaphys, rule, size),
    "metaphys-flatten": lambda rule, size: _update(
        metaphys, rule, size, metaphys.transform.flatten
    ),
    "torchopt": lambda rule, size: _update(pytest.importorskip("torchopt"), rule, size),
    "optax-jit": lambda rule, size: jaxed.two_updates(rule, RULES[rule], *SIZES[size]),
    "copy-floor": _copy,
}


@pytest.mark.parametrize("peer", UPDATES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("rule", RULES)
def test_two_updates_with_backward(benchmark, rule: str, size: str, peer: str) -> None:
    benchmark.group = f"Two updates of {rule} with backward, {size}"
    run = UPDATES[peer](rule, size)
    benchmark.pedantic(run, rounds=ROUNDS[size], warmup_rounds=2)


# Adam's is in test_update.py.
OPTIMIZERS = ("SGD", "AdamW", "RMSprop", "Adagrad", "Adadelta", "Adamax", "RAdam", "NAdam")
FUSED = ("SGD", "AdamW", "Adagrad")
"""Those that torch has a fused CPU kernel for."""


@pytest.mark.parametrize("peer", ["metaphys", "torch-foreach", "torch-fused"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_step_in_place(benchmark, name: str, size: str, peer: str) -> None:
    benchmark.group = f"{name} step in place, {size}"
    if peer == "torch-fused" and name not in FUSED:
        pytest.skip(f"torch has no fused {name} on the CPU")
    count, numel = SIZES[size]
    params = [torch.randn(numel, requires_grad=True) for _ in range(count)]
    for param in params:
        param.grad = torch.randn(numel)
    given: dict[str, Any] = {"lr": 1e-3, **({"momentum": 0.9} if name == "SGD" else {})}
    if peer == "metaphys":
        optimizer = getattr(metaphys, name)(params, **given)
    else:
        optimizer = getattr(torch.optim, name)(params, **given, **{peer.partition("-")[2]: True})
    benchmark.pedantic(optimizer.step, rounds=ROUNDS[size], warmup_rounds=2)
