"""Populations that a configuration describes: how units differ, and what a twin may differ in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from metaphys.physics import (
    MismatchUnknowns,
    OscillatorSpread,
    OscillatorUnknowns,
    Population,
    System,
    Unknowns,
)
from metaphys.training._config import Config
from metaphys.training._kinds import KINDS, deviation, scaled


def populations(config: Config, nominal: Sequence[System]) -> tuple[Population, ...]:
    """Of each layer, readout noise included; layers of one unit differ.

    Args:
        config: how much units differ, and how noisy they are.
        nominal: the systems of the layers.
    """
    kind, spread = KINDS[config.system], _spread(config)
    many = len(nominal) > 1
    found = []
    for layer, system in enumerate(nominal):
        hardware = kind.hardware(system)
        # Angles are of order 1 rad; any other readout is measured in its own deviations.
        unit = 1.0 if config.system == "oscillators" else deviation(hardware, kind)
        key = f"layer {layer}" if many else ""
        found.append(Population(hardware, spread, config.noise * unit, key=key))
    return tuple(found)


def _spread(config: Config) -> Any:
    if config.system != "oscillators":
        return scaled(KINDS[config.system].spread, config.spread)
    return OscillatorSpread(
        coupling=config.coupling_spread,
        tolerance=config.tolerance,
        gain=config.gain,
        gain_spread=config.gain_spread,
        per_oscillator=True,
    )


def unknowns(config: Config, system: Any) -> Unknowns:
    """A twin's mismatch, which is nothing at scores of 0: around what nobody has measured."""
    if config.system == "oscillators":
        per_oscillator = config.gain_spread > 0
        return OscillatorUnknowns(system, 1.0, 0.0, 0.2, per_oscillator=per_oscillator)
    return MismatchUnknowns(system, scaled(KINDS[config.system].spread, max(config.spread, 1e-3)))
