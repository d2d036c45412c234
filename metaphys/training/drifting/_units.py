"""Units whose mismatch walks at random, on every day of their walks."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor

from metaphys.physics import Device, SimulatedDevice, System, WithNoise, random_drives
from metaphys.physics._seeds import derived, stream
from metaphys.training.drifting._setting import Setting


@final
class DriftingUnits:
    """Some units, all their layers in one fleet, on every day of their walks.

    Day 0 is a unit as it was made; a step of the walk is between two days. A unit and its walk
    depend on its seed alone. A layer is the unit that ``Population(key="layer 0")`` knows by it.

    Args:
        setting: what they are units of.
        numbers: their seeds.

    Example:
        >>> from metaphys.training.drifting import DriftConfig, build
        >>> units = DriftingUnits(build(DriftConfig(layers=3)), [20_000, 20_001])
        >>> drives, readouts = units.measured(day=4, count=5)
        >>> drives.shape, len(units.devices(4, 1, "an example"))
        (torch.Size([6, 5, 192]), 3)
    """

    def __init__(self, setting: Setting, numbers: Sequence[int]) -> None:
        self.setting, self.numbers = setting, list(numbers)
        layers = range(setting.config.layers)
        own = [derived(n, f"layer {layer}") for n in self.numbers for layer in layers]
        self._fleet: Any = setting.spread.perturb(setting.hardware, own)
        self._seeds = own
        self._walks: dict[str, Tensor] = {}

    @property
    def fleet(self) -> tuple[int]:
        """The dimension of the fleet: layers of all units."""
        return (len(self._seeds),)

    def on(self, day: int) -> Any:
        """The physics of all layers of all units on a day, which no experiment knows."""
        mismatch, moved = self._fleet.mismatch, {}
        for name, step in self.setting.walk.items():
            start = getattr(mismatch, name)
            walked = torch.stack([self._walked(n, name, start[0])[day] for n in self._seeds])
            moved[name] = start + step * walked.to(start)
        return self._fleet.with_mismatch(dataclasses.replace(mismatch, **moved))

    def _walked(self, seed: int, name: str, like: Tensor) -> Tensor:
        """(days, *): one walk in its own steps."""
        key = f"{name} of {seed}"
        if key not in self._walks:
            days = max(self.setting.config.intervals, self.setting.config.walk_intervals)
            source = stream(seed, f"walk of {name}")
            # One by one: drawn at once, the first days would depend on how many there are.
            white = [torch.randn(like.shape, generator=source) for _ in range(days)]
            self._walks[key] = torch.stack([torch.zeros(like.shape), *white]).cumsum(0)
        return self._walks[key]

    def devices(self, day: int, index: int, *key: object) -> list[Device]:
        """The layers of one unit, with noise that depends on its number, the day and the key."""
        layers, number = self.setting.config.layers, self.numbers[index]
        systems = systems_of(self.on(day), index * layers, layers)
        words = " ".join(map(str, (day, *key)))
        return [
            WithNoise(SimulatedDevice(system), self.setting.sigma, seed=derived(number, name))
            for layer, system in enumerate(systems)
            for name in [f"noise {layer} {words}"]
        ]

    def measured(self, day: int, count: int) -> tuple[Tensor, Tensor]:
        """Random drives (layers of all units, count, N) and what they answered on a day."""
        low, high = self.setting.limits
        ports, seeds = self.setting.twin.ports, [derived(n, f"day {day}") for n in self._seeds]
        drives = torch.stack(
            [random_drives(ports, count, low=low, high=high, seed=seed) for seed in seeds]
        )
        noise = [derived(seed, "noise") for seed in seeds]
        device = WithNoise(SimulatedDevice(self.on(day)), self.setting.sigma, seed=noise)
        return drives, device.measure(drives, {})


def systems_of(fleet: Any, begin: int, count: int) -> list[System]:
    """Some systems of a fleet, each alone."""
    mismatch = fleet.mismatch
    fields = {f.name: getattr(mismatch, f.name) for f in dataclasses.fields(mismatch)}
    given = {name: value for name, value in fields.items() if value is not None}
    return [
        fleet.with_mismatch(type(mismatch)(**{name: value[n] for name, value in given.items()}))
        for n in range(begin, begin + count)
    ]
