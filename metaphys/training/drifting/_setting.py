"""A network whose layers drift, its data, and how far its units walk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call

from metaphys.data import Dataset, Split
from metaphys.nn import Measured, run_on
from metaphys.physics import Device, Spread, System
from metaphys.training._data import looked_at
from metaphys.training._draws import Params
from metaphys.training._kinds import KINDS, scaled
from metaphys.training._options import alike
from metaphys.training.drifting._config import DriftConfig
from metaphys.training.unit import TrainConfig
from metaphys.training.unit._learning import accuracy, predicted
from metaphys.training.unit._machine import batch, build_machine

WALKS: dict[str, Mapping[str, float]] = {
    "shg": {"coupling": 0.013, "dk0": 0.4, "shift": 0.026},
    "circuit": {"R1": 0.025, "C": 0.05, "temperature": 5.0},
    "plate": {"thickness": 0.002, "damping": 0.04, "gain": 0.04},
}
"""Step of an interval by field of the mismatch, in the field's unit: gain (of the laser, the
source's resistance, the microphone), temperature (of the transistor; of the plate, by its
thickness) and detuning (of the crystal, the resonance)."""


@dataclass(frozen=True)
class Setting:
    """What is compared: one network, on units that all drift alike.

    Attributes:
        config: what it was built from.
        data: the data set as the network takes it.
        network: whose layers are moved from unit to unit.
        initial: its parameters before training, by name.
        twin: the nominal system of a layer.
        hardware: the nominal system that units are made of.
        spread: of units on the first day.
        walk: by field of the mismatch, the step of an interval, in the field's unit.
        limits: the least and the greatest drive of the hardware.
        sigma: standard deviation of the readouts' noise, in their unit.
    """

    config: DriftConfig
    data: Dataset
    network: nn.Module
    initial: Params
    twin: System
    hardware: System
    spread: Spread
    walk: Mapping[str, float]
    limits: tuple[float, float]
    sigma: float

    def logits(self, params: Params, inputs: Tensor, physics: Sequence[Any]) -> Tensor:
        """What the network answers where its layers are ``physics``."""
        with run_on(self.network, *physics):
            return functional_call(self.network, params, (inputs,))

    def accuracy(self, params: Params, devices: Sequence[Device], part: Split) -> float:
        """The fraction of ``part`` that the network tells rightly on these devices."""
        physics = [Measured(device) for device in devices]
        return accuracy(predicted(self.network, physics, params, part.inputs), part)

    def batch(self, count: int, *key: object) -> tuple[Tensor, Tensor]:
        """Training samples that depend on ``key`` alone."""
        return batch(self.data.train, count, self.config.seed, *key)

    @property
    def choosing(self) -> Split:
        """What choices are made on: validation samples, or those of training."""
        return looked_at(self.data)


def build(config: DriftConfig) -> Setting:
    """The setting that a configuration describes: a network as ``metaphys train`` has it.

    Raises:
        ValueError, FileNotFoundError: the data cannot be had or do not fit the system.

    Example:
        >>> setting = build(DriftConfig(system="circuit", walk=2.0))
        >>> setting.walk["temperature"], setting.limits, len(setting.data.test)
        (10.0, (-2.0, 2.0), 450)
    """
    taken = "system data data_root pool layers seed spread noise judged"
    machine = build_machine(alike(TrainConfig, config, taken))
    kind, twin = KINDS[config.system], machine.nominal[0]
    return Setting(
        config,
        machine.data,
        machine.network,
        machine.initial,
        twin=twin,
        hardware=kind.hardware(twin),
        spread=scaled(kind.spread, config.spread),
        walk={name: config.walk * step for name, step in WALKS[config.system].items()},
        limits=(kind.low, kind.high),
        sigma=machine.sigma[0],
    )
