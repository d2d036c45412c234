"""The step sizes that meta-learning begins with: as long as adapting a warm start bears."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping
from functools import cache

import torch
from torch import Tensor

from metaphys.training._draws import Params, draw_samples, draw_units
from metaphys.training._loop import check_finite
from metaphys.training._meta import adapted_loss, tabled
from metaphys.training._problem import Problem

LONGEST = 3.0
"""What no step exceeds."""

FACTORS = tuple(3.0**-power for power in range(10))
"""What it is tried with, down to two ten-thousandths."""

BEARABLE = 1.01
"""By how much steps of one parameter may raise the loss: readouts are noisy."""

Sizes = dict[str, Tensor]
"""By parameter, () float64."""


def first_rates(
    problem: Problem, start: Params
) -> tuple[Sizes, Callable[[Sizes, int], Sizes], int]:
    """The choice as a phase: what it begins with, one step of it, and how many there are.

    The matrix behind the physics bears steps of a thousandth where the controls of the same network
    need tenths, and meta-learning that begins where five steps multiply the loss does not come
    back. So each parameter by itself gets the longest step of ``LONGEST`` times ``FACTORS`` that
    raises the loss after adapting by no more than ``BEARABLE`` says, taking it that harm grows with
    the step; then all together get the largest of ``FACTORS`` that does. What bears none of them
    gets the least. All of it on training units, simulated, with the same samples and noise.

    Args:
        problem: what is to be learned on.
        start: the controls, trained so far that a gradient means something.

    Raises:
        FloatingPointError: the loss of the start is not finite.

    Example:
        >>> from metaphys.training import Config, build
        >>> problem = build(Config(units=1, labels=5, queries=5, adapt_steps=1))
        >>> sizes, step, count = first_rates(problem, problem.initial)
        >>> for index in range(count):
        ...     sizes = step(sizes, index)
        >>> sorted(sizes) == sorted(problem.initial), max(floats(sizes).values()) <= LONGEST
        (True, True)
    """
    problem, names = problem.simulated, list(start)
    begun = {name: torch.tensor(LONGEST, dtype=torch.float64) for name in names}

    @cache
    def bearable() -> float:
        unmoved = _loss(problem, start, {})
        check_finite(unmoved)
        return BEARABLE * float(unmoved)

    def longest(sizes: Mapping[str, float]) -> float:
        """The largest factor on these steps that is bearable; parameters without a size stay."""

        def fits(factor: float) -> bool:
            scaled = {name: factor * size for name, size in sizes.items()}
            return float(_loss(problem, start, scaled)) <= bearable()  # False where it is NaN

        found = bisect_left(FACTORS, True, key=fits)
        return FACTORS[min(found, len(FACTORS) - 1)]

    def step(sizes: Sizes, index: int) -> Sizes:
        if index < len(names):
            name = names[index]
            return {**sizes, name: longest({name: LONGEST}) * sizes[name]}
        shared = longest(floats(sizes))
        return {name: shared * size for name, size in sizes.items()}

    return begun, step, len(names) + 1


def floats(sizes: Sizes) -> dict[str, float]:
    """What was chosen, as plain numbers."""
    return {name: float(size) for name, size in sizes.items()}


@torch.no_grad()
def _loss(problem: Problem, start: Params, sizes: Mapping[str, float]) -> Tensor:
    """After adapting, the mean over some units; parameters without a size stay."""
    config = problem.config
    count, key = config.meta_units, (config.seed, "first rates")
    samples = draw_samples(problem.data.train, count, config.labels + config.queries, *key)
    rates = tabled({**dict.fromkeys(start, 0.0), **sizes}, start, config.adapt_steps)
    learned = {"start": start, "rates": rates}
    losses: Tensor = problem.fleet(draw_units(count, *key), *key).each(
        lambda apply, x, y: adapted_loss(problem, learned, apply, x, y), (0, 0), *samples
    )
    return losses.mean()
