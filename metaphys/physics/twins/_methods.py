"""Ways to make a twin, as objects: what each needs to know beside the pairs."""

from __future__ import annotations

import abc
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor

from metaphys.physics._ports import Ports
from metaphys.physics._system import System
from metaphys.physics.twins._calibrate import Calibration, calibrate
from metaphys.physics.twins._corrected import Corrected
from metaphys.physics.twins._fields import Prior
from metaphys.physics.twins._network import NetworkTwin
from metaphys.physics.twins._train import Schedule


class Method(abc.ABC):
    """How a twin is made from pairs of drive and readout: one of three, or a user's own."""

    @property
    def start(self) -> System | None:
        """The model before any measurement; ``None`` where there is none."""
        return None

    @abc.abstractmethod
    def fit(
        self, ports: Ports, drives: Tensor, controls: Any, readouts: Tensor
    ) -> tuple[System, Calibration | None]:
        """The twin, and what is known of its mismatch.

        Args:
            ports: those of the device.
            drives: (*samples, N).
            controls: those of the measurement.
            readouts: (R, *samples, M), R repeats.
        """


@final
@dataclass(frozen=True)
class Calibrate(Method):
    """The physics with its mismatch fitted: see :func:`calibrate`.

    Attributes:
        system: the nominal system.
        prior: how units differ.
        noise: standard deviation of one readout's noise; ``None`` to estimate it.
        draws: units drawn from the prior, to look for a second start among.

    Example:
        >>> from metaphys.physics import Plate, PlateSpread
        >>> method = Calibrate(Plate(), PlateSpread())
    """

    system: System
    prior: Prior
    noise: float | None = None
    draws: int = 0

    @property
    def start(self) -> System:
        """The nominal system."""
        return self.system

    def fit(
        self, ports: Ports, drives: Tensor, controls: Any, readouts: Tensor
    ) -> tuple[System, Calibration | None]:
        noise = None if self.noise is None else self.noise / len(readouts) ** 0.5
        found = calibrate(
            self.system,
            drives,
            readouts.mean(0),
            prior=self.prior,
            controls=controls,
            noise=noise,
            draws=self.draws,
        )
        return found.twin, found


@final
@dataclass(frozen=True)
class LearnNetwork(Method):
    """A network, where no physics is known: see :class:`NetworkTwin`.

    Attributes:
        hidden: widths of the mean's hidden layers.
        noise_hidden: widths of the noise model's.
        modes: correlated modes of the noise.
        schedule: how it is trained.

    Example:
        >>> method = LearnNetwork(hidden=(64, 64), schedule=Schedule(steps=500))
    """

    hidden: tuple[int, ...] = (500, 1000, 300)
    noise_hidden: tuple[int, ...] = (150,)
    modes: int = 2
    schedule: Schedule = field(default_factory=Schedule)

    def fit(
        self, ports: Ports, drives: Tensor, controls: Any, readouts: Tensor
    ) -> tuple[System, Calibration | None]:
        twin = NetworkTwin(
            ports,
            hidden=self.hidden,
            noise_hidden=self.noise_hidden,
            modes=self.modes,
            generator=self.schedule.generator(),
        )
        twin.fit(drives, controls, readouts, self.schedule)
        return twin, None


@final
@dataclass(frozen=True)
class LearnCorrection(Method):
    """Physics with a learned correction: see :class:`Corrected`.

    Attributes:
        system: the physics.
        prior: how units differ; where given, the physics is calibrated first.
        hidden: widths of the network's hidden layers.
        schedule: how it is trained.

    Example:
        >>> from metaphys.physics import Circuit, CircuitSpread
        >>> method = LearnCorrection(Circuit(), CircuitSpread(), hidden=(64,))
    """

    system: System
    prior: Prior | None = None
    hidden: tuple[int, ...] = (200, 200)
    schedule: Schedule = field(default_factory=Schedule)

    @property
    def start(self) -> System:
        """The nominal system."""
        return self.system

    def fit(
        self, ports: Ports, drives: Tensor, controls: Any, readouts: Tensor
    ) -> tuple[System, Calibration | None]:
        physics, found = self.system, None
        if self.prior is not None:
            physics, found = Calibrate(self.system, self.prior).fit(
                ports, drives, controls, readouts
            )
        generator: torch.Generator = self.schedule.generator()
        twin = Corrected(physics, hidden=self.hidden, generator=generator)
        twin.fit(drives, controls, readouts.mean(0), self.schedule)
        return twin, found
