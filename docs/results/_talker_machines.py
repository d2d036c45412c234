"""The systems that hear talkers: networks, units, and how they are trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import shg_vowels
import torch

from metaphys.nn import FeatureNetwork
from metaphys.physics import (
    Circuit,
    CircuitSpread,
    Device,
    Population,
    Spread,
    System,
    WithNoise,
)
from metaphys.physics.twins import Calibrate, fit_twin, random_drives

_FRESH = 10  # drives that judge a fitted twin


@dataclass(frozen=True)
class Machine:
    """One system: its network, its units, and how it is trained.

    Attributes:
        twin: the nominal system of each layer.
        hardware: the nominal system of its units.
        spread: how units differ.
        snr: the readings' deviation over random drives to that of their noise, dB.
        low: the least drive.
        high: the greatest.
        offset: what a mean formant becomes.
        scale: what a deviation becomes.
        spread_of_drives: of the initial scales and offsets.
        layers: number of layers.
        steps: of training in silico.
        drives: random ones of each layer that the unit's twin is fitted to before training on the
            unit, by number of classes; 0: the twin is the nominal system.
        steps_on_twin: of training on the fitted twins, by number of classes.
        steps_on_unit: of the outer loop, on the unit, by number of classes.
        queries: vowels to be understood in an episode, by number of classes.
        jitter: deviation of what is added to their formants, by number of classes.
        jitter_of_class: the same, one for each formant of a class, by number of classes.
        averaged: whether training on the fitted twins keeps its step size and ends with a running
            mean of the numbers, by number of classes.
        steps_without: of what is trained without physics, by number of classes.
        lr: Adam's first step size in silico.
        lr_on_unit: on the unit, by number of classes.
        inner: gradient steps of the controller, by number of classes; 0: none are tried.
        members: networks that the unit runs one after the other, whose logits are averaged, by
            number of classes.
    """

    twin: Callable[[int], System]
    hardware: Callable[[int], System]
    spread: Spread
    snr: float
    low: float
    high: float
    offset: float
    scale: float
    spread_of_drives: float
    layers: int
    steps: int
    drives: Mapping[int, int]
    steps_on_twin: Mapping[int, int]
    steps_on_unit: Mapping[int, int]
    queries: Mapping[int, int]
    jitter: Mapping[int, float]
    jitter_of_class: Mapping[int, float]
    averaged: Mapping[int, bool]
    steps_without: Mapping[int, int]
    lr: float
    lr_on_unit: Mapping[int, float]
    inner: Mapping[int, int]
    members: Mapping[int, int]

    def network(self, classes: int, seed: int, system: System | None = None) -> FeatureNetwork:
        """The network with its first drives: every formant once for each class, or as often."""
        system = self.twin(classes) if system is None else system
        drive, readout = system.ports.drive, system.ports.readout
        repeats, step = drive // readout, readout // classes
        return FeatureNetwork(
            system,
            (torch.arange(drive) // repeats) % 12,
            # A circuit is read when all formants have come, a spectrum in the middle of its parts.
            range(step - 1 if repeats == 1 else step // 2, readout, step)[:classes],
            layers=self.layers,
            low=self.low,
            high=self.high,
            spread=self.spread_of_drives,
            power=repeats == 1,
            generator=torch.Generator().manual_seed(seed),
        )

    def unit(self, classes: int, seed: int, key: int) -> list[Device]:
        """The layers of the unit of that seed, with noise of ``key``."""
        net, system = self.network(classes, 0), self.hardware(classes)
        sigma = net.deviation * 10 ** (-self.snr / 20)
        devices: list[Device] = [
            Population(system, self.spread, key=f"layer {layer}").unit(seed)
            for layer in range(self.layers)
        ]
        return [WithNoise(d, sigma, seed=100 * key + layer) for layer, d in enumerate(devices)]

    def fitted(self, classes: int, unit: Sequence[Device]) -> list[System]:
        """The twin of each layer after some random drives of the unit; without any, nominal."""
        nominal, count = self.twin(classes), self.drives[classes]
        if not count:
            return [nominal] * len(unit)
        method, found = Calibrate(nominal, self.spread), []
        for layer, device in enumerate(unit):
            drives = random_drives(
                device.ports, count + _FRESH, low=self.low, high=self.high, seed=layer
            )
            fit = fit_twin(device, method, drives=drives[:count], fresh=drives[count:])
            found.append(fit.twin)
        return found


MACHINES = {
    "shg": Machine(
        twin=lambda classes: shg_vowels.TWIN,
        hardware=lambda classes: shg_vowels.HARDWARE,
        spread=shg_vowels.SPREAD,
        snr=30.0,
        low=0.0,
        high=1.0,
        offset=0.5,
        scale=0.4,
        spread_of_drives=0.3,
        layers=3,
        steps=800,
        drives={7: 0, 12: 20},
        steps_on_twin={7: 0, 12: 1600},
        steps_on_unit={7: 120, 12: 100},
        queries={7: 16, 12: 16},
        jitter={7: 0.0, 12: 0.1},
        jitter_of_class={7: 0.0, 12: 0.2},
        averaged={7: False, 12: True},
        steps_without={7: 800, 12: 2500},
        lr=0.05,
        lr_on_unit={7: 0.01, 12: 0.003},
        inner={7: 3, 12: 0},
        members={7: 1, 12: 4},
    ),
    "circuit": Machine(
        twin=lambda classes: Circuit(samples=12 * classes),
        hardware=lambda classes: Circuit(samples=12 * classes),
        spread=CircuitSpread(L=0.15, C=0.15),
        snr=34.0,
        low=-2.0,
        high=2.0,
        offset=0.0,
        scale=0.8,
        spread_of_drives=0.6,
        layers=4,
        steps=800,
        drives={7: 0, 12: 10},
        steps_on_twin={7: 0, 12: 800},
        steps_on_unit={7: 120, 12: 100},
        queries={7: 16, 12: 48},
        jitter={7: 0.0, 12: 0.15},
        jitter_of_class={7: 0.0, 12: 0.0},
        averaged={7: False, 12: False},
        steps_without={7: 800, 12: 800},
        lr=0.03,
        lr_on_unit={7: 0.01, 12: 0.003},
        inner={7: 3, 12: 0},
        members={7: 1, 12: 4},
    ),
}
"""Chosen with women as the new group; ``members``, and what SHG with 12 vowels has alone, with boys
and girls as the new one too. Men were not heard."""
