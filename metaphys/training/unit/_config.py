"""What training one unit is made of: every choice, documented once."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from metaphys._errors import check
from metaphys.training._checks import check_files, check_ngspice
from metaphys.training._options import at_most
from metaphys.training._patience import Patience


@dataclass(frozen=True)
class TrainConfig(Patience):
    """Training of a physical network on one unit."""

    system: Literal["plate", "circuit", "shg", "oscillators"] = "circuit"
    """The physical system of the layers."""

    device: Literal["simulated", "spice"] = "simulated"
    """What is measured: a simulated unit, or ngspice (which must be installed; circuit only)."""

    data: Literal["digits", "mnist", "vowels"] = "digits"
    """The data set. ``digits`` comes with scikit-learn; the others need ``data_root``."""

    rule: Literal["pat", "in-silico", "spsa", "dfa"] = "pat"
    """Where gradients come from. ``dfa`` adds a trained linear layer behind the logits."""

    twin: Literal["nominal", "fitted"] = "nominal"
    """The model of ``pat`` and ``in-silico``. ``fitted``: measure the unit of each layer first and
    calibrate the nominal system to it, with the spread as what is known before."""

    twin_calls: int = 10
    """Random waveforms that each layer's twin is fitted to; 5 more judge it."""

    data_root: Path | None = None
    """The folder of the data set's files, where it has any."""

    pool: int = 1
    """Average blocks of so many pixels in each direction first (2 makes 14x14 of MNIST's 28x28)."""

    layers: int = 2
    """Physical layers, one after the other, each a unit of its own."""

    seed: int = 0
    """Seed of everything random but the unit: initial controls, batches, noise."""

    unit: int = 20_000
    """Seed of the unit that is trained on."""

    spread: float = 0.2
    """How much the unit differs, as a factor on the usual tolerances; 0 for the nominal one."""

    noise: float = 0.01
    """Readout noise, in standard deviations of the readout for random drives."""

    steps: int = 1000
    """Training steps, of the rule and of each baseline."""

    batch: int = 32
    """Samples in a step."""

    lr: float = 2e-2
    """Adam's step size at the start; a cosine takes it to zero."""

    judged: int = 1000
    """Test samples that accuracies are measured on, at most."""

    looks: int = 20
    """Accuracies that the learning curve has."""

    penalty: float = 0.0
    """Factor on how far drives leave the hardware's range before they are clamped, in the loss of
    the rule and of each baseline (``metaphys.nn.with_excess``); 0 for none."""

    spsa_shift: float = 0.05
    """How far SPSA moves each parameter to either side."""

    spsa_directions: int = 4
    """Directions of SPSA in a step; each costs two measurements of the batch."""

    threads: int = 1
    """Threads of the tensor library. ngspice runs in as many processes as there are CPU cores."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in _COUNTS:
            value = getattr(self, name)
            check(value >= 1, name, expected=">= 1", got=value)
        for name in ("seed", "unit", "spread", "noise", "penalty"):
            value = getattr(self, name)
            check(0 <= value < math.inf, name, expected=">= 0, finite", got=value)
        for name in ("lr", "spsa_shift", "spsa_directions"):
            value = getattr(self, name)
            check(0 < value < math.inf, name, expected="> 0, finite", got=value)
        self._check_together()

    def _check_together(self) -> None:
        check_ngspice(self.device, self.system)
        check(
            self.rule != "dfa" or self.system != "oscillators",
            "rule",
            expected="pat, in-silico or spsa for oscillators",
            got=repr(self.rule),
            remedy="Their controls are inside the physics, where random feedback does not reach.",
        )
        check(
            self.penalty == 0 or self.system != "oscillators",
            "penalty",
            expected="0 for oscillators",
            got=self.penalty,
            remedy="Their angles have no range that they could leave.",
        )
        if self.twin == "fitted":
            self._check_fitted()
        check_files(self.data, self.data_root)

    def _check_fitted(self) -> None:
        check(
            self.rule in ("pat", "in-silico"),
            "twin",
            expected=f"nominal for {self.rule}",
            got=repr(self.twin),
            remedy="That rule learns from measurements alone.",
        )
        check(
            self.system != "oscillators",
            "twin",
            expected="nominal for oscillators",
            got=repr(self.twin),
            remedy="Each of their couplings has a mismatch of its own: too many to calibrate here.",
        )
        check(
            self.spread > 0,
            "spread",
            expected="> 0 where the twin is fitted",
            got=self.spread,
            remedy="A nominal unit has nothing to fit; take --twin nominal.",
        )

    @property
    def short(self) -> bool:
        """Whether the steps are too few for any figure to mean anything."""
        return self.steps <= QUICK_STEPS

    def quick(self) -> TrainConfig:
        """The same with so few steps that the figures mean nothing: to see that all of it runs."""
        most = {"steps": QUICK_STEPS, "judged": 50, "looks": 2}
        return dataclasses.replace(self, **at_most(self, most))


QUICK_STEPS = 10
_COUNTS = ("pool", "layers", "steps", "batch", "judged", "looks", "twin_calls", "threads")
