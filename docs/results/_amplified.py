"""Circuits between two amplifiers that saturate, which the nominal twin knows nothing of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from metaphys.physics import Circuit, CircuitSpread, Spread, System


@final
class Amplified(System):
    """b tanh(circuit(a tanh(u / a)) / b), with limits a and b (2, *units) in volts."""

    def __init__(self, circuit: Circuit, limits: Tensor) -> None:
        self.circuit, self.limits = circuit, limits
        self.ports, self.units = circuit.ports, circuit.units

    def init_controls(self, **options: Any) -> Any:
        """None, as the circuit has none."""
        return self.circuit.init_controls(**options)

    def _respond(self, drive: Tensor, controls: Any, settings: tuple[int, ...]) -> Tensor:
        ones = (1,) * (drive.ndim - len(self.units))
        a, b = self.limits.to(drive).reshape(2, *self.units, *ones)
        return b * (self.circuit(a * (drive / a).tanh(), controls) / b).tanh()


@final
@dataclass(frozen=True)
class AmplifiedSpread(Spread):
    """Circuits with amplifiers whose limits differ from unit to unit.

    Attributes:
        circuit: how the circuits differ.
        limits: medians of a and b, V.
        deviation: of their logarithms.
    """

    circuit: CircuitSpread
    limits: tuple[float, float]
    deviation: float

    def single(self, system: Circuit, seed: int) -> Amplified:
        return Amplified(self.circuit.single(system, seed), self._limits(seed))

    def perturb(self, system: Circuit, seeds: Sequence[int]) -> Amplified:
        limits = torch.stack([self._limits(seed) for seed in seeds], 1)
        return Amplified(self.circuit.perturb(system, seeds), limits)

    def _limits(self, seed: int) -> Tensor:
        normal = torch.randn(2, generator=torch.Generator().manual_seed(seed))
        return torch.tensor(self.limits) * torch.exp(self.deviation * normal)
