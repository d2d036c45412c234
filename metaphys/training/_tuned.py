"""Step sizes of each system, chosen where the method that they belong to may look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from metaphys.training._draws import Params
from metaphys.training._kinds import within

Grid = Mapping[tuple[str, str], Sequence[float]]
"""Rates by optimizer and loss."""


@dataclass(frozen=True)
class Tuned:
    """What training a network of one system takes.

    Attributes:
        nominal: Adam's step size in silico, the best for the nominal model, which is all that such
            training can see.
        sharp: of sharpness-aware training.
        radius: of the same, the best on validation units.
        rival: of the population start, the best on validation units.
        warm: of the start that meta-learning begins at.
        full: of full training on a unit.
        twin: of training on a twin that was fitted.
        inner_loss: what its inner steps minimise.
        grid: the rates that plain fine-tuning is tuned over.
        chosen_on: validation samples that choices are made on, at most: every choice measures them
            on ten units.
    """

    nominal: float
    sharp: float
    radius: float
    rival: float
    warm: float
    full: float
    twin: float
    inner_loss: str
    grid: Grid
    chosen_on: int


_CROSS = "cross entropy"
_SQUARED = "squared error"
_STACK: Grid = {
    ("SGD", _CROSS): (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0),
    ("Adam", _CROSS): (0.0003, 0.001, 0.003, 0.01, 0.03),
}
_CRYSTAL: Grid = {
    ("SGD", _CROSS): (0.0001, 0.0003, 0.001, 0.003, 0.01),
    ("Adam", _CROSS): (0.0001, 0.0003, 0.001, 0.003, 0.01),
}

TUNED = {
    "oscillators": Tuned(
        nominal=1e-2,
        sharp=0.1,
        radius=4.0,
        rival=0.5,
        warm=2e-2,
        full=1e-2,
        twin=0.1,
        inner_loss=_SQUARED,
        grid={
            ("SGD", _CROSS): (0.5, 1, 2, 3, 5, 8, 12, 20, 30),
            ("SGD", _SQUARED): (0.02, 0.05, 0.1, 0.2, 0.3, 0.5),
            ("Adam", _CROSS): (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5),
            ("Adam", _SQUARED): (0.02, 0.05, 0.1, 0.2, 0.4),
        },
        chosen_on=500,
    ),
    "plate": Tuned(0.03, 0.03, 0.3, 0.03, 0.03, 0.03, 0.03, _CROSS, _STACK, 200),
    "circuit": Tuned(0.03, 0.03, 0.3, 0.03, 0.03, 0.03, 0.03, _CROSS, _STACK, 200),
    "shg": Tuned(0.03, 0.03, 0.1, 0.03, 0.03, 0.03, 0.03, _CROSS, _CRYSTAL, 100),
}
"""Those of oscillators: docs/results/recalibration-digits.md."""


def within_hardware(params: Params) -> Params:
    """Parameters where hardware can set them."""
    return {name: within(name, value) for name, value in params.items()}
