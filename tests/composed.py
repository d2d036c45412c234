"""Rules made of rules, for what is asked of all of them, and the problem that they step in."""

# pyright: reportArgumentType=false, reportCallIssue=false

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import optree
import torch

import metaphys
from metaphys import chain, clip, schedule, transform
from metaphys.optim import Rule


def own_momentum(lr: float = 0.05, decay: float = 0.8) -> Rule:
    """Heavy ball, as a user writes it: a pair of functions on trees."""

    def init(params):
        return {"trace": optree.tree_map(torch.zeros_like, params)}

    def update(grads, state, *, params=None, inplace=True):
        # The trace of what has no gradient now stays.
        trace = optree.tree_map(
            lambda g, b: b if g is None else decay * b + g, grads, state["trace"], none_is_leaf=True
        )
        step = optree.tree_map(
            lambda g, b: None if g is None else -lr * b, grads, trace, none_is_leaf=True
        )
        return step, {"trace": trace}

    return metaphys.GradientTransformation(init, update)


SGD = {"lr": 0.05, "momentum": 0.8}


def first(leaves):
    return [index == 0 for index in range(len(leaves))]


def labels(leaves):
    return ["a" if index == 0 else "b" for index in range(len(leaves))]


COMPOSED: dict[str, Callable[[], Rule]] = {
    "clip-sgd": lambda: chain(metaphys.clip_grad_norm(0.7), metaphys.sgd(**SGD)),
    "clip-1-norm": lambda: chain(metaphys.clip_grad_norm(0.7, 1.5), metaphys.sgd(0.05)),
    "clip-max-adam": lambda: chain(metaphys.clip_grad_norm(0.5, float("inf")), metaphys.adam(0.05)),
    "clip-value": lambda: chain(clip.clip_grad_value(0.6), metaphys.sgd(**SGD)),
    "agc": lambda: chain(clip.adaptive_grad_clip(0.3), metaphys.sgd(0.2)),
    "decay-trace-scale": lambda: chain(
        transform.add_decayed_weights(0.1), transform.trace(0.8), transform.scale(-0.05)
    ),
    "adam-decay-scale": lambda: chain(
        transform.scale_by_adam(eps=1e-3), transform.add_decayed_weights(0.1), transform.scale(-0.1)
    ),
    "adamax": lambda: chain(transform.scale_by_adamax(), transform.scale(-0.05)),
    "radam": lambda: chain(transform.scale_by_radam(), transform.scale(-0.02)),
    "adadelta": lambda: chain(transform.scale_by_adadelta(eps=1e-3), transform.scale(-1.0)),
    "rss": lambda: chain(transform.scale_by_rss(0.1), transform.scale(-0.1)),
    "rms": lambda: chain(transform.scale_by_rms(initial_scale=0.1), transform.scale(-0.02)),
    "stddev": lambda: chain(transform.scale_by_stddev(initial_scale=0.5), transform.scale(-0.02)),
    "scheduled": lambda: chain(
        transform.nan_to_num(), transform.scale_by_schedule(schedule.cosine_decay(-0.1, 9))
    ),
    "hook": lambda: chain(metaphys.register_hook(metaphys.zero_nan_hook), metaphys.sgd(**SGD)),
    "masked": lambda: chain(
        transform.masked(transform.scale_by_adam(), first), transform.scale(-0.1)
    ),
    "partition": lambda: transform.partition(
        {"a": metaphys.adam(0.05), "b": chain(metaphys.clip_grad_norm(0.5), metaphys.sgd(**SGD))},
        labels,
    ),
    "finite": lambda: transform.apply_if_finite(metaphys.adam(0.05)),
    "accumulate": lambda: transform.accumulate(metaphys.adam(0.1), every=2),
    "lookahead": lambda: transform.lookahead(metaphys.sgd(**SGD), 2, 0.6),
    "flatten": lambda: transform.flatten(metaphys.adam(0.05, eps=1e-3)),
    "masked-flatten": lambda: chain(
        transform.masked(transform.flatten(transform.scale_by_adam()), first), transform.scale(-0.1)
    ),
    "inject": lambda: transform.inject_hyperparams(metaphys.adam)(0.05),
    "own": own_momentum,
    "clip-own": lambda: chain(metaphys.clip_grad_norm(0.7), own_momentum()),
    "accumulate-own": lambda: transform.accumulate(own_momentum(), every=2),
    "masked-own": lambda: chain(transform.masked(own_momentum(-0.3), first), transform.scale(-0.1)),
    "deep": lambda: chain(
        transform.apply_if_finite(
            transform.accumulate(chain(metaphys.clip_grad_norm(0.7), metaphys.sgd(**SGD)), 2)
        ),
        transform.lookahead(transform.scale(1.0), 2),
    ),
}

START = torch.tensor([0.4, -0.9, 1.3, 0.2], dtype=torch.float64)
TARGET = torch.tensor([0.8, 0.1, -0.5, 1.2], dtype=torch.float64)


def inner(params: Any, x: torch.Tensor) -> torch.Tensor:
    """A loss of four parameters."""
    w, b = params["w"], params["b"]
    return (torch.sin(w * x[:3]) ** 2).sum() + (w.sum() * b - x[3]).pow(2) + 0.1 * (w**4).sum()


def outer(rule: Rule, x: torch.Tensor, start: torch.Tensor = START, steps: int = 6, adjoint=None):
    """A loss after some steps, of data ``x`` and the start."""
    end = metaphys.unroll(
        inner,
        rule,
        {"b": start[3], "w": start[:3]},
        steps=steps,
        meta=x,
        adjoint=adjoint or metaphys.adjoint.Full(),
    )
    return (end.params["w"] - TARGET[:3]).pow(2).sum() + end.params["b"].cos()


def problem(missing=False, steps=8):
    """Parameters, and gradients of some steps in which some leaves have none where ``missing``."""
    shapes = [(3,), (2, 2), (), (5,)]
    params = [torch.randn(shape) for shape in shapes]
    grads = []
    for step in range(steps):
        absent = {1: [0, 3], 2: [0], 4: [1], 5: [0, 1, 2]}.get(step, []) if missing else []
        grads.append([None if i in absent else torch.randn(s) for i, s in enumerate(shapes)])
    return params, grads
