"""What a population's units have in common, learned from the readouts of a few of them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import Tensor

from metaphys._errors import check
from metaphys.physics import Posterior, Unknowns, infer
from metaphys.training.recalibration._measurement import Measurement

LEAST = 1e-3
"""The least noise that is learned, as a part of the guess: of oscillators 1e-5 rad, which readouts
in single precision have after 18 stages."""


class Prior(NamedTuple):
    """What is known of a layer before it is measured.

    Attributes:
        unknowns: with their prior.
        noise: standard deviation of the readouts' noise, in their unit.
        draws: units of the prior that the first descent looks for a start among.
    """

    unknowns: Unknowns
    noise: float
    draws: int = 0


def learn_prior(
    guess: Prior,
    units: Sequence[Measurement],
    calls: int,
    rounds: int,
    progress: Callable[[int], None] = lambda done: None,
) -> Prior:
    """The prior that explains the readouts of training units best: empirical Bayes.

    Every round infers each unit under the present prior and noise, and refines both: the prior by
    expectation maximisation, the noise by MacKay's estimate |f − y|² / (n − γ) over all units.

    Args:
        guess: where to begin; broad.
        units: the training units.
        calls: device calls of each.
        rounds: how many rounds.
        progress: called after every unit with how many were inferred so far.

    Raises:
        ValueError: no unit, or one that has fewer drives than ``calls``.
    """
    check(len(units) > 0, "units", expected="at least one", got="none")
    check(calls >= 1, "calls", expected=">= 1", got=calls)
    prior, found = guess, list[Posterior]()
    for number in range(rounds):
        starts = [posterior.z for posterior in found] or [None] * len(units)
        found = []
        for unit, start in zip(units, starts, strict=True):
            found.append(inferred(prior, unit, calls, start))
            progress(number * len(units) + len(found))
        refined = prior.unknowns.refined([f.z for f in found], [f.variance for f in found])
        # The scores are in the deviations of their prior: where it changed, so do they.
        found = [
            dataclasses.replace(each, unknowns=refined, z=each.unknowns.translated(each.z, refined))
            for each in found
        ]
        noise = max(_noise(found, calls), LEAST * guess.noise)
        prior = Prior(refined, noise, guess.draws)
    return prior


def inferred(prior: Prior, unit: Measurement, calls: int, start: Tensor | None = None) -> Posterior:
    """The posterior of a unit after its first ``calls`` drives."""
    drives, readouts = unit.first(calls)
    return infer(
        prior.unknowns,
        drives,
        readouts,
        noise=prior.noise,
        controls=unit.controls,
        start=start,
        draws=prior.draws,
    )


def _noise(found: Sequence[Posterior], calls: int) -> float:
    read = calls * found[0].unknowns.ports.readout
    free = sum(max(read - posterior.used, 1.0) for posterior in found)
    squares = sum(read * posterior.misfit**2 for posterior in found)
    return math.sqrt(squares / free)
