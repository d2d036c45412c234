"""What a meta-training run is made of: every choice, documented once."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from metaphys.training._checks import check_config
from metaphys.training._options import at_most
from metaphys.training._patience import Patience


@dataclass(frozen=True)
class Config(Patience):
    """A meta-training experiment.

    Units are named by integer seeds: below 10,000 they are for training, from there to 20,000 for
    choosing rates, from 20,000 on for the figures. The last are looked at once.
    """

    system: Literal["oscillators", "plate", "circuit", "shg"] = "oscillators"
    """The physical system of the layers."""

    device: Literal["simulated", "spice"] = "simulated"
    """What held-out units are: simulated, all of them at once, or circuits in ngspice (which must
    be installed), one after the other, in as many processes as there are CPU cores."""

    learned_on: Literal["simulated", "device"] = "simulated"
    """The units of meta-training and of choosing rates: simulated ones, or such as the held-out
    ones are. A step of meta-learning measures 1,200 samples: in ngspice, ten seconds a layer."""

    data: Literal["digits", "mnist", "vowels"] = "digits"
    """The data set. ``digits`` comes with scikit-learn; the others need ``data_root``."""

    data_root: Path | None = None
    """The folder of the data set's files, where it has any."""

    pool: int = 1
    """Average blocks of so many pixels in each direction first (4 makes 7x7 of MNIST's 28x28)."""

    layers: int = 1
    """Physical layers, one after the other, each a unit of its own."""

    judged: int = 10_000
    """Test samples that accuracies are measured on, at most."""

    learn: tuple[Literal["start", "rates", "twin", "correction", "samples"], ...] = (
        "start",
        "rates",
    )
    """What is meta-learned: the controls to start from; a step size for each step, parameter and
    entry; the mismatch of the twin that gradients go through; a digital linear layer behind the
    logits (which every method then trains); the samples that a new unit is measured with."""

    adjoint: Literal["full", "checkpoint", "mixed", "truncated", "one-step"] = "full"
    """How the outer gradient goes through the inner steps: ``checkpoint`` and ``mixed`` save memory
    and replay what was measured, ``truncated`` goes through the last half of the steps."""

    seed: int = 0
    """Seed of everything random: initial controls, batches, units."""

    units: int = 8
    """Held-out units that every method is judged on."""

    spread: float = 0.2
    """How much units of a plate, a circuit or second-harmonic generation differ, as a factor on the
    usual tolerances. Of plates at 1.0 the modes are off by whole turns: the gradients of nominal
    twins say nothing there, and only a twin that is fitted helps."""

    coupling_spread: float = 0.85
    """Of oscillators: spread of the units' coupling offsets (dimensionless; 0.6 on each
    off-diagonal of J)."""

    tolerance: float = 0.0
    """Of oscillators: spread of each coupling's relative error, the tolerance of a component."""

    gain: float = 0.1
    """Of oscillators: mean relative error of the angle inside the sine."""

    gain_spread: float = 0.05
    """Its spread from oscillator to oscillator, which no control can cancel."""

    noise: float = 0.02
    """Readout noise: of oscillators in rad, else in deviations of the readout for random drives."""

    coupling_limit: float | None = 1.0
    """The couplings of oscillators that the hardware can set lie in plus or minus this
    (dimensionless)."""

    labels: int = 50
    """Labelled samples of a new unit to adapt with."""

    adapt_steps: int = 5
    """Physics-aware gradient steps on them: labels x adapt_steps x layers calls of a unit."""

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

    full_epochs: int = 50
    """Epochs of full training on each held-out unit, the upper bound, at most. It ends once the
    accuracy on validation samples, measured on the unit, was flat for five."""

    epoch_steps: int | None = None
    """Steps of an epoch of it; ``None`` for a pass over the training samples, 100 at least."""

    meta_lr: float = 1e-2
    """Outer step size for the start."""

    rate_lr: float = 5e-2
    """Outer step size for the logarithms of the learned step sizes."""

    threads: int = 1
    """Threads of the tensor library. Small systems gain nothing from more."""

    classical_units: int = 3
    """Held-out units that the classical rival is judged on, at most: to fit the 2775 couplings and
    gains of 74 oscillators takes most of a minute."""

    twin_steps: int = 300
    """Steps of the classical rival on the twin that it fits to as many random drives; they cost no
    device call."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_config(self)

    @property
    def calls(self) -> int:
        """Device calls that a method may take on a new unit."""
        return self.labels * self.adapt_steps * self.layers

    def quick(self) -> Config:
        """The same with so few steps that the figures mean nothing: to see that all of it runs."""
        most = {
            "nominal_steps": 20,
            "population_steps": 10,
            "meta_steps": 5,
            "full_epochs": 2,
            "epoch_steps": 5,
            "twin_steps": 5,
            "units": 2,
            "labels": 10,
            "adapt_steps": 2,
            "queries": 10,
            "classical_units": 1,
            "judged": 100,
        }
        return dataclasses.replace(self, **at_most(self, most))
