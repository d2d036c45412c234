"""Training of any tree of numbers: Adam down a cosine, sharpness-aware, clipped."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import optree
import torch
from torch import Tensor

import metaphys
from metaphys.training._loop import norm


def learn(
    first: Any,
    loss_of: Callable[[Any, int], Tensor],
    *,
    steps: int,
    lr: Any,
    radius: float = 0.0,
    clip: float = math.inf,
) -> Any:
    """Adam with a cosine to zero; the last step counts.

    Args:
        first: where to begin, a tree.
        loss_of: what step t minimises.
        steps: how many.
        lr: the first step size, or a tree of them.
        radius: of sharpness-aware training: the gradient is that at this distance uphill.
        clip: the largest norm of a gradient.
    """
    learned, state = first, metaphys.adam().init(first)
    for index in range(steps):
        fade = (1 + math.cos(math.pi * index / steps)) / 2
        grads = _grads(loss_of, learned, index)
        if radius:
            far = radius / norm(grads)
            uphill = optree.tree_map(lambda p, g, far=far: p + far * g, learned, grads)
            grads = _grads(loss_of, uphill, index)
        if clip < math.inf:
            factor = (clip / norm(grads)).clamp(max=1)
            grads = optree.tree_map(lambda g, factor=factor: factor * g, grads)
        rates = optree.tree_map(lambda rate, fade=fade: fade * rate, lr)
        updates, state = metaphys.adam(lr=rates).update(grads, state, learned)
        learned = metaphys.apply_updates(learned, updates, inplace=False)
    return learned


def _grads(loss_of: Callable[[Any, int], Tensor], at: Any, index: int) -> Any:
    leaves, spec = optree.tree_flatten(at)
    leaves = [leaf.detach().requires_grad_() for leaf in leaves]
    loss = loss_of(optree.tree_unflatten(spec, leaves), index)
    found = torch.autograd.grad(loss, leaves, materialize_grads=True)
    return optree.tree_unflatten(spec, found)
