"""What an experiment with drifting units is made of: every choice, documented once."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from metaphys._errors import check
from metaphys._options import Options
from metaphys.training._checks import check_files, check_units
from metaphys.training._options import at_most

QUICK_INTERVALS = 4


@dataclass(frozen=True)
class DriftConfig(Options):
    """Networks on units that drift, kept at work by a few calls in every interval.

    Units are named by integer seeds: below 10,000 the walk and the rate of fine-tuning are learned
    from them, from 20,000 on they are judged.
    """

    system: Literal["plate", "circuit", "shg"] = "plate"
    """The physical system of the layers."""

    data: Literal["digits", "mnist", "vowels"] = "digits"
    """The data set. ``digits`` comes with scikit-learn; the others need ``data_root``."""

    data_root: Path | None = None
    """The folder of the data set's files, where it has any."""

    pool: int = 1
    """Average blocks of so many pixels in each direction first (2 makes 14x14 of MNIST's 28x28)."""

    layers: int = 2
    """Physical layers, one after the other, each a unit of its own."""

    seed: int = 0
    """Of the initial controls, the batches and the noise; units and their walks are the same."""

    spread: float = 0.2
    """How much units differ on the first day, as a factor on the usual tolerances."""

    walk: float = 1.0
    """Step of their random walk in an interval, as a factor on the usual one."""

    noise: float = 0.01
    """Of a readout, in standard deviations of the readout for random drives."""

    units: int = 10
    """Units that are judged."""

    intervals: int = 50
    """How often they drift on, are calibrated and judged."""

    calls: int = 50
    """Device calls in an interval, at most. A call is one sample through one layer; layers share
    them evenly, and what fine-tuning takes is as many."""

    first_calls: int = 100
    """Device calls on the first day, before a unit has drifted."""

    batch: int = 50
    """Samples in a step of training on a twin, which costs no call."""

    steps: int = 800
    """Steps of training in silico, which every unit begins from."""

    lr: float = 2e-2
    """Adam's step size at their beginning."""

    first_steps: int = 300
    """Steps of training on the twin of a unit on its first day."""

    interval_steps: int = 20
    """Steps of training on the twin in every interval."""

    equalize: bool = False
    """Multiply every reading by a factor that brings it back to its size in the nominal system, as
    the twins believe it. For spectra, whose parts go dark as a crystal is detuned."""

    walk_units: int = 3
    """Training units that the walk is learned from, and the rate of fine-tuning is tuned on."""

    walk_intervals: int = 15
    """Intervals that they are followed for."""

    judged: int = 500
    """Test samples that accuracies are measured on, at most."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in _COUNTS:
            check(getattr(self, name) >= 1, name, expected=">= 1", got=getattr(self, name))
        check_units(self, "walk_units")
        for name in ("seed", "interval_steps", "first_steps", "noise"):
            value = getattr(self, name)
            check(0 <= value < math.inf, name, expected=">= 0, finite", got=value)
        for name in ("spread", "walk", "lr"):
            value = getattr(self, name)
            check(0 < value < math.inf, name, expected="> 0, finite", got=value)
        least = f">= {self.layers}, a call of each layer"
        for name in ("calls", "first_calls"):
            value = getattr(self, name)
            check(value >= self.layers, name, expected=least, got=value)
        check_files(self.data, self.data_root)

    @property
    def drives(self) -> int:
        """Calls of each layer in an interval."""
        return self.calls // self.layers

    @property
    def first_drives(self) -> int:
        """Calls of each layer on the first day."""
        return self.first_calls // self.layers

    @property
    def short(self) -> bool:
        """Whether there is too little of it for any figure to mean anything."""
        return self == self.quick()

    def quick(self) -> DriftConfig:
        """The same with so few steps that the figures mean nothing: to see that all of it runs."""
        most = {
            "units": 2,
            "intervals": QUICK_INTERVALS,
            "walk_units": 1,
            "walk_intervals": 2,
            "steps": 10,
            "first_steps": 3,
            "interval_steps": 1,
            "judged": 50,
            "calls": 5 * self.layers,
            "first_calls": 5 * self.layers,
        }
        return dataclasses.replace(self, **at_most(self, most))


_COUNTS = ("pool", "layers", "units", "intervals", "batch", "steps")
_COUNTS += ("walk_intervals", "judged")
