"""The four systems: a network of each, how its units differ, and what a unit is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from metaphys.data import Dataset
from metaphys.nn import OscillatorNetwork, SHGNetwork, WaveformNetwork
from metaphys.physics import (
    SHG,
    Circuit,
    CircuitSpread,
    OscillatorSpread,
    Plate,
    PlateSpread,
    SHGSpread,
    Spread,
    System,
    ThinSHG,
    TimeWindow,
)
from metaphys.training._draws import generator
from metaphys.training._wire import Wire

LOGIT_SCALE = 10.0
"""Logits per rad of the final angles; fixed, so that no digital weight learns."""

WAVEFORM = 196
"""Samples that data are stretched to, about, where they become a waveform."""

PULSES = TimeWindow(64.0, 1280)
"""The grid of second-harmonic generation: its 20 THz hold the harmonic of what the shaper lets
through. Readouts are those of the usual 2048 points to 1e-5, but for the unit of amplitude, in half
the time."""


@dataclass(frozen=True)
class Kind:
    """What is particular to a system.

    Attributes:
        network: from (data, layers, generator, whether physics is removed) to a network; that of
            oscillators also takes their ``coupling_limit``.
        spread: its usual tolerances.
        low: the least drive of the hardware, in the drive's unit.
        high: the greatest.
        hold: from the number of features to the samples that each is held for.
        hardware: from a layer's nominal twin to the nominal system of its unit.
    """

    network: Callable[..., nn.Module]
    spread: Spread
    low: float
    high: float
    hold: Callable[[int], int] = lambda features: 1
    hardware: Callable[[Any], System] = lambda twin: twin


def _waveforms(system: Callable[[int], System], low: float, high: float) -> Any:
    def build(data: Dataset, layers: int, source: torch.Generator, wired: bool) -> nn.Module:
        physics = system(data.features)
        return WaveformNetwork(
            Wire(physics.ports) if wired else physics,
            data.classes,
            layers=layers,
            low=low,
            high=high,
            # A window knows the drive before it: they lie in the second half.
            last=data.features // 2 // data.classes * data.classes,
            generator=source,
        )

    return build


def _shg(data: Dataset, layers: int, source: torch.Generator, wired: bool) -> nn.Module:
    thin = ThinSHG(window=PULSES)
    physics: Any = Wire(thin.ports) if wired else thin
    return SHGNetwork(physics, data.features, data.classes, layers=layers, generator=source)


def _oscillators(
    data: Dataset,
    layers: int,
    source: torch.Generator,
    wired: bool,
    coupling_limit: float | None = 1.0,
) -> nn.Module:
    net = OscillatorNetwork(
        data.features,
        data.classes,
        layers=layers,
        logit_scale=LOGIT_SCALE,
        coupling_limit=coupling_limit,
        generator=source,
    )
    # No digital weight learns.
    net.logit_scale.requires_grad_(False)
    return net


def _hold(features: int) -> int:
    return max(1, round(WAVEFORM / features))


KINDS = {
    "plate": Kind(
        _waveforms(lambda n: Plate(samples=n), -1.0, 1.0), PlateSpread(), -1.0, 1.0, _hold
    ),
    "circuit": Kind(
        _waveforms(lambda n: Circuit(samples=n), -2.0, 2.0), CircuitSpread(), -2.0, 2.0, _hold
    ),
    "shg": Kind(
        _shg,
        SHGSpread(coupling=0.02, dk0=1.0, crosstalk=0.02, shift=0.05),
        0.0,
        1.0,
        # The unit depletes its pump, its twin does not: an honest gap also without a spread.
        hardware=lambda twin: SHG(steps=10, window=twin.window),
    ),
    "oscillators": Kind(
        _oscillators,
        OscillatorSpread(coupling=0.85, gain=0.1, gain_spread=0.05, per_oscillator=True),
        0.0,
        1.0,
    ),
}


def scaled(spread: Any, factor: float) -> Spread:
    """The spread with all of its numbers times ``factor``.

    Example:
        >>> scaled(PlateSpread(), 0.5).gain
        0.05
    """
    numbers = {field.name: getattr(spread, field.name) for field in fields(spread)}
    kept = {name: v for name, v in numbers.items() if isinstance(v, bool) or v is None}
    return type(spread)(**{**{n: factor * v for n, v in numbers.items() if n not in kept}, **kept})


def within(name: str, value: Tensor) -> Tensor:
    """A parameter where hardware can set it: levels that share a shaper with data are clamped.

    What is clamped inside the network has no derivative, and would stay out for good.
    """
    return value.clamp(0, 1) if name.endswith("controls.inserted") else value


def deviation(system: System, kind: Kind) -> float:
    """Standard deviation of the readout for drives that are uniform in their range."""
    source = generator("deviation")
    drive = torch.rand(32, system.ports.drive, generator=source)
    controls = system.init_controls(generator=source)
    with torch.no_grad():
        readout = system(kind.low + (kind.high - kind.low) * drive, controls)
    return float(readout.std())
