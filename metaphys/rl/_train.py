"""Meta-training of one method with one seed, and its judgement on fresh tasks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from metaphys.optim import adam, apply_updates
from metaphys.rl._inner import InnerLoss
from metaphys.rl._inner_losses import learned_loss, textbook_loss, weighted_loss
from metaphys.rl._mdp import Tasks, draw, sample_tasks
from metaphys.rl._meta import Meta, init_meta
from metaphys.rl._methods import OUTER_LRS, Method
from metaphys.rl._outer import (
    HORIZON,
    TRAJS,
    add_gradients,
    draw_rounds,
    exact_loss,
    exploration_loss,
    play_and_adapt,
    sampled_loss,
)
from metaphys.rl._planning import Counts, policy_return
from metaphys.rl._policies import Params

LOSSES: dict[str, InnerLoss] = {
    "a2c": textbook_loss,
    "weighted a2c": weighted_loss,
    "learned": learned_loss,
}
START, TRAINING, EVALUATION, TEST = 0, 1_000_000, 2_000_000, 3_000_000
"""Added to a seed, these give a generator for each purpose."""


def generator_of(purpose: int, seed: int) -> torch.Generator:
    """The random numbers of one purpose and seed."""
    return torch.Generator().manual_seed(purpose + seed)


@dataclass(frozen=True)
class Judgement:
    """Exact returns on n tasks, each (n,).

    Attributes:
        before: of the start policy.
        during: mean sampled return while the 20 trajectories were played.
        after: of the adapted policy.
        counts: what the trajectories tell, for a planner to compare with.
    """

    before: Tensor
    during: Tensor
    after: Tensor
    counts: Counts


def start_of(method: Method, seed: int) -> Meta:
    """The meta-parameters of a method before training."""
    return init_meta(
        method.net(),
        steps=method.steps,
        rounds=method.rounds,
        lr=method.lr,
        generator=generator_of(START, seed),
    )


def judge(method: Method, meta: Meta, tasks: Tasks, generator: torch.Generator) -> Judgement:
    """Adapt to tasks and compute what the policies are worth; no outer graph.

    Example:
        >>> from metaphys.rl import METHODS
        >>> method, generator = METHODS["tabular"], torch.Generator().manual_seed(0)
        >>> judge(method, start_of(method, 0), sample_tasks(3), generator).after.shape
        torch.Size([3])
    """
    net, n = method.net(), len(tasks.rewards)
    draws = draw_rounds(n, method.rounds, generator)
    adapted = play_and_adapt(meta, net, LOSSES[method.inner], tasks, draws, differentiable=False)
    with torch.no_grad():
        return Judgement(
            before=policy_return(tasks, net.apply(meta.start)[0].exp(), HORIZON),
            during=adapted.seen.trajs.rewards.sum(0).mean(-1),
            after=policy_return(tasks, adapted.log_probs.exp(), HORIZON),
            counts=adapted.seen.counts,
        )


class Learning(NamedTuple):
    """The state of meta-training.

    Attributes:
        meta: what is learned.
        adam: the state of the outer optimizer.
        random: that of the generator of tasks and trajectories.
    """

    meta: Meta
    adam: Any
    random: Tensor


def begin(method: Method, seed: int) -> Learning:
    """Before the first outer step."""
    meta = start_of(method, seed)
    random = generator_of(TRAINING, seed).get_state()
    return Learning(meta, adam().init(_learned(method, meta)), random)


def train(
    method: Method,
    seed: int,
    *,
    iters: int,
    tasks: int,
    after_step: Callable[[int, Meta], None] = lambda done, meta: None,
) -> Meta:
    """Meta-train.

    Args:
        method: how.
        seed: of the start, the tasks and the trajectories.
        iters: outer steps.
        tasks: tasks in each.
        after_step: called with 0 before the first step, then with the number of steps done.

    Example:
        >>> from metaphys.rl import METHODS
        >>> meta = train(METHODS["tabular"], seed=0, iters=1, tasks=2)
    """
    state, step = begin(method, seed), outer_step(method, iters, tasks)
    after_step(0, state.meta)
    for index in range(iters):
        state = step(state, index)
        after_step(index + 1, state.meta)
    return state.meta


def outer_step(method: Method, iters: int, tasks: int) -> Callable[[Learning, int], Learning]:
    """The outer step of each index below ``iters``; it depends on its arguments alone."""
    rates = {"start": method.outer_lr, **OUTER_LRS}

    def step(state: Learning, index: int) -> Learning:
        generator = torch.Generator()
        generator.set_state(state.random)
        meta = Meta(*({n: v.detach().requires_grad_() for n, v in p.items()} for p in state.meta))
        outer_gradients(method, meta, sample_tasks(tasks, generator=generator), generator)
        learned = _learned(method, meta)
        grads = {name: {n: v.grad for n, v in part.items()} for name, part in learned.items()}
        fade = (1 + math.cos(math.pi * index / iters)) / 2 if method.anneal else 1.0
        lr = {name: dict.fromkeys(part, fade * rates[name]) for name, part in learned.items()}
        with torch.no_grad():
            updates, moments = adam(lr).update(grads, state.adam, learned)
            learned = apply_updates(learned, updates, inplace=False)
        return Learning(meta._replace(**learned), moments, generator.get_state())

    return step


def _learned(method: Method, meta: Meta) -> dict[str, Params]:
    """The parts of ``meta`` that a method learns."""
    return {name: getattr(meta, name) for name in method.learned}


def outer_gradients(method: Method, meta: Meta, tasks: Tasks, generator: torch.Generator) -> None:
    """Adapt to tasks and set the gradient of everything that the method learns."""
    net, n = method.net(), len(tasks.rewards)
    groups = {name: meta.groups()[name] for name in method.learned}
    params = [param for group in groups.values() for param in group]
    draws = draw_rounds(n, method.rounds, generator)
    adapted = play_and_adapt(meta, net, LOSSES[method.inner], tasks, draws)
    if method.outer == "sampled":
        loss = sampled_loss(adapted, tasks, draw(n, TRAJS, HORIZON, generator))
    else:
        loss = exact_loss(adapted, tasks)
    add_gradients(loss, params)
    if method.dice:
        # For the start and the step sizes, thousands of entries, it would be mostly noise.
        add_gradients(exploration_loss(adapted, tasks), groups["rounds"])
    if method.clip is not None:
        for group in groups.values():
            torch.nn.utils.clip_grad_norm_(group, method.clip)
