"""The three networks that drift: vowels on crystals and on circuits, digits on plates."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import shg_vowels as shg
import torch
from _rows import scaled
from torch import nn

from metaphys.data import vowels
from metaphys.nn import FeatureNetwork, functional
from metaphys.physics import Circuit, CircuitSpread, PlateSpread, SHGSpread, Spread, System
from metaphys.training._kinds import KINDS, deviation
from metaphys.training.drifting import DriftConfig, Setting, build
from metaphys.training.drifting._setting import WALKS

HERE = Path(__file__).parent
CIRCUIT = Circuit(samples=84)
EXPERIMENTS = {
    "shg": DriftConfig(
        system="shg",
        data="vowels",
        data_root=HERE,
        layers=2,
        first_calls=20,
        steps=400,
        lr=0.03,
        walk=0.6,
        equalize=True,
    ),
    "circuit": DriftConfig(
        system="circuit",
        data="vowels",
        data_root=HERE,
        layers=3,
        first_calls=30,
        steps=200,
        lr=0.05,
    ),
    "plate": DriftConfig(system="plate", layers=3, first_calls=30),
}
"""Rates and steps were chosen on validation units, seeds 10,000 to 20,000."""


def build_setting(config: DriftConfig) -> Setting:
    """The setting of an experiment."""
    if config.system == "plate":
        spread = PlateSpread(thickness=0.01, damping=0.1)
        return dataclasses.replace(build(config), spread=spread)
    if config.system == "circuit":
        return _on_vowels(config, _of_circuits(), CIRCUIT, CIRCUIT, CircuitSpread(), least=-1.0)
    network = shg.network(shg.TWIN, config.seed)
    spread = SHGSpread(coupling=0.02, dk0=0.5, crosstalk=0.02, shift=0.05)
    return _on_vowels(config, network, shg.TWIN, shg.HARDWARE, spread, least=0.0)


def _of_circuits() -> FeatureNetwork:
    """Every formant in seven samples, and one sample a class."""
    drives: dict[str, Any] = {"low": -2.0, "high": 2.0, "spread": 0.6, "power": True, "layers": 3}
    slots, picks = torch.arange(84) % 12, range(11, 84, 12)
    source = torch.Generator().manual_seed(0)
    return FeatureNetwork(CIRCUIT, slots, picks, generator=source, **drives)


def _on_vowels(
    config: DriftConfig,
    network: nn.Module,
    twin: System,
    hardware: System,
    spread: Spread,
    *,
    least: float,
) -> Setting:
    """A setting whose features lie between ``least`` and 1."""
    kind = KINDS[config.system]
    data = vowels(config.data_root or HERE, seed=0, dtype=torch.float32)
    train, test = scaled(data.train, data.test, least, 1.0)
    _, initial = functional(network.requires_grad_(False))
    return Setting(
        config,
        dataclasses.replace(data, train=train, test=test),
        network,
        initial,
        twin=twin,
        hardware=hardware,
        spread=spread,
        walk={name: config.walk * step for name, step in WALKS[config.system].items()},
        limits=(kind.low, kind.high),
        sigma=config.noise * deviation(hardware, kind),
    )
