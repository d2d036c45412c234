"""What a population's units have in common, learned from the readouts of a few of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from metaphys.physics import OscillatorUnknowns, Posterior, infer
from metaphys.training.recalibration._measurement import Measurement

LEAST_NOISE = 1e-5
"""The noise, in rad, that exact readouts are taken to have: single precision after 18 stages."""


class Prior(NamedTuple):
    """The unknowns with their prior, and the standard deviation of the readouts' noise, in rad."""

    unknowns: OscillatorUnknowns
    noise: float


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
    """
    prior, found = guess, list[Posterior]()
    for number in range(rounds):
        starts = [posterior.z for posterior in found] or [None] * len(units)
        found = []
        for unit, start in zip(units, starts, strict=True):
            found.append(inferred(prior, unit, calls, start))
            progress(number * len(units) + len(found))
        refined = prior.unknowns.refined([f.z for f in found], [f.variance for f in found])
        # The scores are in the deviations of their prior: where it changed, so do they.
        found = [rescaled(posterior, refined) for posterior in found]
        prior = Prior(refined, max(_noise(found, calls), LEAST_NOISE))
    return prior


def inferred(prior: Prior, unit: Measurement, calls: int, start: object = None) -> Posterior:
    """The posterior of a unit after its first ``calls`` drives."""
    drives, readouts = unit.first(calls)
    return infer(
        prior.unknowns,
        drives,
        readouts,
        noise=prior.noise,
        controls=unit.controls,
        start=start,  # pyright: ignore[reportArgumentType]
    )


def rescaled(posterior: Posterior, unknowns: OscillatorUnknowns) -> Posterior:
    """The same unit in the coordinates of another prior; only ``z`` is converted."""
    before = posterior.unknowns
    assert isinstance(before, OscillatorUnknowns)
    z = posterior.z.clone()
    z[: before.pairs] *= before.coupling / unknowns.coupling
    gains = before.gains(posterior.z) - unknowns.gain
    z[before.pairs :] = gains / max(unknowns.gain_deviation, 1e-12)
    return Posterior(
        unknowns,
        z,
        posterior.factor,
        posterior.noise,
        posterior.misfit,
        posterior.used,
        posterior.steps,
        posterior.converged,
    )


def _noise(found: Sequence[Posterior], calls: int) -> float:
    read = calls * found[0].unknowns.ports.readout
    free = sum(max(read - posterior.used, 1.0) for posterior in found)
    squares = sum(read * posterior.misfit**2 for posterior in found)
    return math.sqrt(squares / free)
