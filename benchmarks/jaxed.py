"""The same work by optax under ``jax.jit``: what a compiled graph makes of it.

Every run waits for its results (JAX returns before it is done), and compiles before it is timed.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch

Run = Callable[[], object]


def _modules() -> tuple[Any, Any]:
    jax = pytest.importorskip("jax", reason="JAX is not installed")
    optax = pytest.importorskip("optax", reason="optax is not installed")
    return jax, optax


def _started(jax: Any, function: Callable[..., Any], *arguments: Any) -> Run:
    compiled = jax.jit(function)
    jax.block_until_ready(compiled(*arguments))
    return lambda: jax.block_until_ready(compiled(*arguments))


def _normal(jax: Any, *shape: int) -> Any:
    return jax.numpy.asarray(torch.randn(shape).numpy())


def adam_update(count: int, size: int) -> Run:
    """(u, m', v') of optax.scale_by_adam, pulled back to (g, m, v)."""
    jax, _ = _modules()
    columns = [[_normal(jax, size) for _ in range(count)] for _ in range(2)]
    return _adam_update(lambda rule: rule, columns[0], columns[1])


def flattened_adam_update(count: int, size: int) -> Run:
    """The same by optax.flatten: on one vector, with packed moments."""
    jax, optax = _modules()
    grads = [_normal(jax, size) for _ in range(count)]
    return _adam_update(optax.flatten, grads, _normal(jax, count * size))


def _adam_update(wrapped: Callable[[Any], Any], grads: Any, mu: Any) -> Run:
    """Adam's update from a gradient and a first moment, and from its square as the second."""
    jax, optax = _modules()
    rule = wrapped(optax.scale_by_adam(b1=0.9, b2=0.999, eps=1e-8))
    nu = jax.tree.map(jax.numpy.square, mu)

    def update(grads: Any, mu: Any, nu: Any) -> Any:
        state = rule.init(grads)._replace(count=jax.numpy.asarray(2), mu=mu, nu=nu)
        updates, after = rule.update(grads, state)
        return updates, after.mu, after.nu

    def pulled(given: Any, cotangents: Any) -> Any:
        outputs, pullback = jax.vjp(update, *given)
        return outputs, pullback(cotangents)

    return _started(jax, pulled, (grads, mu, nu), (grads, mu, nu))


def two_updates(rule: str, hyper: dict[str, float], count: int, size: int) -> Run:
    """The updates of two steps of one of optax's rules, pulled back to both steps' gradients."""
    jax, optax = _modules()
    made = getattr(optax, rule)(hyper["lr"], **{k: v for k, v in hyper.items() if k != "lr"})

    def columns() -> list[Any]:
        return [_normal(jax, size) for _ in range(count)]

    params, grads, cotangents = columns(), (columns(), columns()), (columns(), columns())

    def updates(first: Any, second: Any) -> Any:
        one, state = made.update(first, made.init(params), params)
        return one, made.update(second, state, params)[0]

    def pulled(grads: Any, cotangents: Any) -> Any:
        outputs, pullback = jax.vjp(updates, *grads)
        return outputs, pullback(cotangents)

    return _started(jax, pulled, grads, cotangents)


def meta_gradient(
    optimizer: str, sizes: tuple[int, ...], steps: int, scanned: bool = False, tasks: int = 0
) -> Run:
    """The gradient by the start of a tanh MLP's loss after some steps of optax's rule.

    Args:
        optimizer: the name of the meta-optimizer that does the same.
        sizes: of the layers.
        steps: of the inner loop.
        scanned: loop by ``lax.scan`` with a checkpoint around each step, not by unrolling.
        tasks: how many tasks are mapped by ``vmap``; none by default.
    """
    jax, optax = _modules()
    rule = {"MetaSGD": optax.sgd, "MetaAdam": optax.adam}[optimizer](1e-2)
    params = [
        (_normal(jax, a, b) / a**0.5, _normal(jax, b) / a**0.5)
        for a, b in itertools.pairwise(sizes)
    ]
    many = (tasks,) if tasks else ()
    x, y = _normal(jax, *many, 64, sizes[0]), _normal(jax, *many, 64, sizes[-1])

    def loss(params: Any, x: Any, y: Any) -> Any:
        *hidden, (weight, bias) = params
        for w, b in hidden:
            x = jax.numpy.tanh(x @ w + b)
        return ((x @ weight + bias - y) ** 2).mean()

    def after(params: Any, x: Any, y: Any) -> Any:
        def step(carry: Any, _: Any) -> tuple[Any, None]:
            params, state = carry
            updates, state = rule.update(jax.grad(loss)(params, x, y), state, params)
            return (optax.apply_updates(params, updates), state), None

        carry = params, rule.init(params)
        if scanned:
            carry, _ = jax.lax.scan(jax.checkpoint(step), carry, length=steps)
        else:
            for _ in range(steps):
                carry, _ = step(carry, None)
        return loss(carry[0], x, y)

    def mean(params: Any, x: Any, y: Any) -> Any:
        return jax.vmap(after, in_axes=(None, 0, 0))(params, x, y).mean()

    return _started(jax, jax.grad(mean if tasks else after), params, x, y)
