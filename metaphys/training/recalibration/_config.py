"""What an experiment of recalibration is made of."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from metaphys._errors import check
from metaphys.training._checks import check_files, check_units
from metaphys.training._options import at_most
from metaphys.training._patience import Patience

QUICK_CALLS = 12
_REAL = ("spread", "noise", "gain", "gain_spread", "amplitude", "force_limit")
_REAL += ("coupling_limit", "start_lr", "twin_lr")


@dataclass(frozen=True)
class RecalibrationConfig(Patience):
    """An experiment of recalibration; by default 49 pixels of MNIST on 59 oscillators."""

    system: Literal["oscillators", "plate", "circuit", "shg"] = "oscillators"
    """The physical system of the layers."""

    data: Literal["digits", "mnist", "vowels"] | None = None
    """The data set; ``None`` for MNIST where there is a ``data_root``, and else for the digits that
    come with scikit-learn."""

    data_root: Path | None = None
    """The folder of the data set's files, where it has any."""

    pool: int | None = None
    """Average blocks of so many pixels in each direction first; ``None`` for 7x7 of MNIST on
    oscillators (4x4 of the digits), 14x14 (8x8) on other systems."""

    layers: int = 2
    """Physical layers, one after the other, each a unit of its own; oscillators have one."""

    judged: int = 2000
    """Test samples that accuracies are measured on, at most; on oscillators all are."""

    seed: int = 0
    """Of the initial controls, the batches and what is drawn; the held-out units are the same."""

    spread: float = 1.0
    """How much units differ: of oscillators the offsets of C (0.7 of it on each off-diagonal of J),
    else a factor on the usual tolerances."""

    noise: float = 0.0
    """Of a readout: of oscillators in rad, else in deviations of the readout for random drives."""

    gain: float = 0.1
    """Of oscillators: mean relative error of the angle inside the sine."""

    gain_spread: float = 0.0
    """Its spread from oscillator to oscillator, which no control can cancel."""

    coupling_limit: float | None = None
    """Couplings of oscillators that can be set lie in plus or minus this; ``None`` for any."""

    bits: int | None = None
    """Of the converters of the controls, over the couplings' limit and plus or minus
    ``force_limit``; ``None`` for ideal ones."""

    force_limit: float = 8.0
    """The range of the converters of the forces, in units of the frequency squared."""

    budgets: tuple[int, ...] = (50, 100, 250)
    """Device calls, ascending: a later budget goes on from an earlier one. A call is one sample
    through one layer; layers share a budget evenly."""

    units: int = 20
    """Held-out units."""

    amplitude: float = 1.5
    """The random drives that oscillators are measured with are uniform in plus or minus this, in
    rad; those of other systems fill the range of the hardware."""

    prior_units: int = 3
    """Training units that the prior is learned from."""

    prior_calls: int = 50
    """Calls of each layer of each of them."""

    prior_rounds: int = 2
    """Rounds of expectation maximisation."""

    start_steps: int = 3000
    """Steps of training that a start takes, of whichever kind."""

    start_lr: float | None = None
    """Step size of Adam at their beginning; ``None`` for 0.1 on oscillators, else 0.03."""

    twin_steps: int = 300
    """Steps of training on the fitted twin, which cost no device call."""

    twin_lr: float | None = None
    """Step size of Adam at their beginning; ``None`` as above."""

    twin_batch: int | None = None
    """Samples in each of them; ``None`` for ``batch``."""

    batch: int = 100
    """Samples in a step of training."""

    fine_steps: int = 5
    """Steps of fine-tuning, the rival with labels, that share a budget, at most."""

    tuning_units: int = 3
    """Validation units that its optimizer and rate are chosen on."""

    full_units: int = 5
    """Held-out units, the first ones, that are also trained on with no budget; 0 for none."""

    full_epochs: int = 50
    """Epochs of that, at most, by the exact gradient of the simulated unit, as no experiment can.
    It ends once the accuracy on validation samples, measured on the unit, was flat for five."""

    epoch_steps: int | None = None
    """Steps of an epoch of it; ``None`` for a pass over the training samples, 100 at least."""

    def __post_init__(self) -> None:
        super().__post_init__()
        rising = all(a < b for a, b in zip(self.budgets, self.budgets[1:]))
        positive = len(self.budgets) > 0 and self.budgets[0] >= 1
        fits = rising and positive
        check(fits, "budgets", expected="ascending numbers >= 1", got=self.budgets)
        for name in (
            "units",
            "prior_calls",
            "batch",
            "start_steps",
            "layers",
            "judged",
            "fine_steps",
            "full_epochs",
        ):
            check(getattr(self, name) >= 1, name, expected=">= 1", got=getattr(self, name))
        check_units(self, "prior_units", "tuning_units")
        for name in ("seed", "prior_rounds", "twin_steps", "noise", "gain_spread", "full_units"):
            check(getattr(self, name) >= 0, name, expected=">= 0", got=getattr(self, name))
        for name in ("spread", "amplitude"):
            check(getattr(self, name) > 0, name, expected="> 0", got=getattr(self, name))
        for name in ("start_lr", "twin_lr", "twin_batch", "pool", "epoch_steps"):
            value = getattr(self, name)
            check(value is None or value > 0, name, expected="> 0, or None", got=value)
        limit = self.coupling_limit
        check(limit is None or limit > 0, "coupling_limit", expected="> 0, or None", got=limit)
        ranged = self.bits is None or limit is not None
        check(ranged, "bits", expected="None where the couplings have no limit", got=self.bits)
        self._check_system()

    def _check_system(self) -> None:
        for name in _REAL:
            value = getattr(self, name)
            check(value is None or math.isfinite(value), name, expected="finite", got=value)
        check(self.gain > -1, "gain", expected="> -1", got=self.gain)
        check(self.force_limit > 0, "force_limit", expected="> 0", got=self.force_limit)
        check_files(self.dataset, self.data_root)
        if self.system == "oscillators":
            check(self.data != "vowels", "data", expected="digits or mnist", got=repr(self.data))
            return
        least = f">= {self.layers}, a call of each layer"
        check(self.budgets[0] >= self.layers, "budgets", expected=least, got=self.budgets)

    @property
    def dataset(self) -> Literal["digits", "mnist", "vowels"]:
        """The data set, chosen or by default."""
        return self.data or ("digits" if self.data_root is None else "mnist")

    @property
    def rate(self) -> float:
        """The step size where none is chosen."""
        return 0.1 if self.system == "oscillators" else 0.03

    @property
    def short(self) -> bool:
        """Whether there is too little of it for any figure to mean anything."""
        return self == self.quick()

    def quick(self) -> RecalibrationConfig:
        """The same with so few steps that the figures mean nothing: to see that all of it runs."""
        most = {
            "start_steps": 10,
            "twin_steps": 3,
            "prior_units": 1,
            "prior_rounds": 1,
            "prior_calls": 8,
            "tuning_units": 1,
            "full_epochs": 2,
            "epoch_steps": 2,
            "judged": 50,
            "full_units": 1,
            "units": 2,
        }
        scale = min(1.0, QUICK_CALLS / self.budgets[-1])
        scaled = {max(self.layers, round(scale * budget)) for budget in self.budgets}
        few = at_most(self, most)
        return dataclasses.replace(self, budgets=tuple(sorted(scaled)), **few)
