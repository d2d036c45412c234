"""What each method is, in a line."""

from __future__ import annotations

from metaphys.training.recalibration._names import (
    ANOTHER,
    FULL,
    GAUSS_NEWTON,
    IN_SILICO,
    LINEAR,
    OURS,
    POPULATION,
    START,
    fine_tuning,
)

NOTES = {
    OURS: "random drives, the posterior of the mismatch under a prior learned from other units, "
    "what can be taken back taken back in the controls, training on units drawn from the posterior",
    GAUSS_NEWTON: "the classical rival, told the same readouts: a regularised fit under a prior "
    "nobody learned, the noise estimated, then as much training on the most probable twin",
    IN_SILICO: "trained on the nominal system, not adapted",
    START: "the start of recalibration, not adapted: trained to be easy to correct",
    ANOTHER: "controls that were recalibrated for another unit",
    POPULATION: "trained over simulated training units, or where a simulation is not the hardware "
    "over units imagined from the prior; not adapted",
    fine_tuning(IN_SILICO): "physics-aware steps on labelled samples, the nominal twins backwards",
    fine_tuning(POPULATION): "the same from the population start",
    FULL: "trained by the exact gradient of the simulated unit, with no budget; no experiment can",
    LINEAR: "logistic regression on the same inputs, at most 10,000 of them, without any physics",
}


def note(name: str) -> str:
    """What a method is, whatever its budget; empty for one that is not known.

    Example:
        >>> note("Gauss-Newton from 1000 draws")
        'the same, the descent begun at the nearest of some units of the guess'
    """
    if name.startswith(GAUSS_NEWTON) and name not in NOTES:
        return "the same, the descent begun at the nearest of some units of the guess"
    return NOTES.get(name, "")
