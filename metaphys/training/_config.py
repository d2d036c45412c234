"""What a meta-training run is made of: every choice, documented once."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from metaphys._errors import check
from metaphys.training._options import from_plain
from metaphys.training._patience import Patience


@dataclass(frozen=True)
class Config(Patience):
    """A meta-training experiment.

    Units are named by integer seeds: below 10,000 they are for training, from there to 20,000 for
    choosing rates, from 20,000 on for the figures. The last are looked at once.
    """

    system: Literal["oscillators"] = "oscillators"
    """The physical system of the network."""

    data: Literal["digits", "mnist"] = "digits"
    """The data set. ``digits`` comes with scikit-learn; ``mnist`` needs ``data_root``."""

    data_root: Path | None = None
    """The folder of the data set's files, where it has any."""

    pool: int = 1
    """Average blocks of so many pixels in each direction first (4 makes 7x7 of MNIST's 28x28)."""

    seed: int = 0
    """Seed of everything random: initial controls, batches, units."""

    units: int = 8
    """Held-out units that every method is judged on."""

    coupling_spread: float = 0.85
    """Spread of the units' coupling offsets (dimensionless; 0.6 on each off-diagonal of J)."""

    tolerance: float = 0.0
    """Spread of each coupling's relative error: the tolerance of a component."""

    gain: float = 0.1
    """Mean relative error of the angle inside the sine."""

    gain_spread: float = 0.05
    """Its spread from oscillator to oscillator, which no control can cancel."""

    noise: float = 0.02
    """Readout noise, in rad."""

    coupling_limit: float | None = 1.0
    """The couplings that the hardware can set lie in plus or minus this (dimensionless)."""

    labels: int = 50
    """Labelled samples of a new unit to adapt with."""

    adapt_steps: int = 5
    """Physics-aware gradient steps on them; a unit is called labels x adapt_steps times."""

    queries: int = 50
    """Further samples of a training unit, on which meta-training judges the adapted network."""

    nominal_steps: int = 1000
    """Training steps in silico, on the nominal model."""

    population_steps: int = 1000
    """Outer steps over the population before meta-learning starts from there."""

    meta_steps: int = 300
    """Outer steps of meta-learning. The rival start gets population_steps + meta_steps."""

    meta_units: int = 4
    """Units in one outer step of meta-learning (the rival start gets twice as many)."""

    full_steps: int = 1000
    """Steps of full training on each held-out unit, the upper bound."""

    meta_lr: float = 1e-2
    """Outer step size for the start."""

    rate_lr: float = 5e-2
    """Outer step size for the logarithms of the learned step sizes."""

    threads: int = 1
    """Threads of the tensor library. Small systems gain nothing from more."""

    def __post_init__(self) -> None:
        self.check_patience()
        whole = ("pool", "units", "labels", "adapt_steps", "queries", "meta_units", "threads")
        for name in whole:
            value = getattr(self, name)
            check(value >= 1, name, expected=">= 1", got=value)
        for name in ("nominal_steps", "population_steps", "meta_steps", "full_steps", "seed"):
            value = getattr(self, name)
            check(value >= 0, name, expected=">= 0", got=value)
        for name in ("coupling_spread", "gain_spread", "tolerance", "noise"):
            value = getattr(self, name)
            check(0 <= value < math.inf, name, expected=">= 0 and finite", got=value)
        for name in ("meta_lr", "rate_lr"):
            value = getattr(self, name)
            check(0 < value < math.inf, name, expected="> 0 and finite", got=value)
        check(-1 < self.gain < math.inf, "gain", expected="> -1 and finite", got=self.gain)
        known = {"system": ("oscillators",), "data": ("digits", "mnist")}
        for name, choices in known.items():
            value = getattr(self, name)
            check(value in choices, name, expected=f"one of {', '.join(choices)}", got=repr(value))
        check(
            self.data == "digits" or self.data_root is not None,
            "data_root",
            expected=f"the folder that holds the files of {self.data}",
            got=None,
            remedy="They are not part of the package.",
        )

    def quick(self) -> Config:
        """The same with so few steps that the figures mean nothing: to see that all of it runs."""
        few = {"nominal_steps": 20, "population_steps": 10, "meta_steps": 5, "full_steps": 10}
        return dataclasses.replace(self, units=min(self.units, 2), **few)

    def to_json(self) -> dict[str, Any]:
        """Plain values, for ``config.json``."""
        values = self.plain()
        values["data_root"] = None if self.data_root is None else str(self.data_root)
        return values

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Config:
        """The inverse of :meth:`to_json`.

        Raises:
            ValueError: an entry is unknown or of another kind.
        """
        return from_plain(cls, values)
