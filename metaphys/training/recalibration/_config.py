"""What an experiment of recalibration is made of."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metaphys._errors import check


@dataclass(frozen=True)
class RecalibrationConfig:
    """An experiment of recalibration: 49 pixels of MNIST on 59 oscillators."""

    data_root: Path | None = None
    """The folder of MNIST's files; without it those of scikit-learn stand in (4x4 pixels)."""

    seed: int = 0
    """Of the initial controls, the batches and what is drawn; the held-out units are the same."""

    spread: float = 1.0
    """Of the offsets of C between units: 0.7 of it on each off-diagonal of J."""

    gain: float = 0.1
    """Mean relative error of the angle inside the sine."""

    gain_spread: float = 0.0
    """Its spread from oscillator to oscillator, which no control can cancel."""

    noise: float = 0.0
    """Of a readout, in rad."""

    coupling_limit: float | None = None
    """The couplings that can be set lie in plus or minus this; ``None`` for any."""

    bits: int | None = None
    """Of the converters of the controls, over the couplings' limit and plus or minus
    ``force_limit``; ``None`` for ideal ones."""

    force_limit: float = 8.0
    """The range of the converters of the forces, in units of the frequency squared."""

    budgets: tuple[int, ...] = (50, 100, 250)
    """Device calls, ascending: a later budget goes on from an earlier one."""

    units: int = 20
    """Held-out units."""

    amplitude: float = 1.5
    """The random drives that are measured are uniform in plus or minus this, in rad."""

    prior_units: int = 3
    """Training units that the prior is learned from."""

    prior_calls: int = 50
    """Calls of each of them."""

    prior_rounds: int = 2
    """Rounds of expectation maximisation."""

    start_steps: int = 3000
    """Steps of training that a start takes, of whichever kind."""

    start_lr: float = 0.1
    """Step size of Adam at their beginning."""

    twin_steps: int = 300
    """Steps of training on the fitted twin, which cost no device call."""

    twin_lr: float = 0.1
    """Step size of Adam at their beginning."""

    batch: int = 100
    """Samples in a step of training."""

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in zip(self.budgets, self.budgets[1:]))
        positive = len(self.budgets) > 0 and self.budgets[0] >= 1
        fits = rising and positive
        check(fits, "budgets", expected="ascending numbers >= 1", got=self.budgets)
        for name in ("units", "prior_units", "prior_calls", "batch", "start_steps"):
            check(getattr(self, name) >= 1, name, expected=">= 1", got=getattr(self, name))
        for name in ("seed", "prior_rounds", "twin_steps", "noise", "gain_spread"):
            check(getattr(self, name) >= 0, name, expected=">= 0", got=getattr(self, name))
        for name in ("spread", "amplitude", "start_lr", "twin_lr"):
            check(getattr(self, name) > 0, name, expected="> 0", got=getattr(self, name))
        limit = self.coupling_limit
        check(limit is None or limit > 0, "coupling_limit", expected="> 0, or None", got=limit)
        ranged = self.bits is None or limit is not None
        check(ranged, "bits", expected="None where the couplings have no limit", got=self.bits)

    def quick(self) -> RecalibrationConfig:
        """The same with so few steps that the figures mean nothing: to see that all of it runs."""
        few = {"start_steps": 10, "twin_steps": 3, "prior_units": 1, "prior_rounds": 1}
        return dataclasses.replace(self, units=min(self.units, 2), prior_calls=8, **few)

    def to_json(self) -> dict[str, Any]:
        """Plain values, for ``config.json``."""
        values = dataclasses.asdict(self)
        values["data_root"] = None if self.data_root is None else str(self.data_root)
        return {**values, "budgets": list(self.budgets)}
