"""How much the units of a circuit differ."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import final

import torch
from torch import Tensor

from metaphys._errors import check, check_kind
from metaphys.physics._population import Spread
from metaphys.physics._seeds import stream
from metaphys.physics.circuit._circuit import Circuit
from metaphys.physics.circuit._mismatch import CircuitMismatch


@final
@dataclass(frozen=True)
class CircuitSpread(Spread):
    """Unit-to-unit spread of a :class:`Circuit`: the tolerances printed on its components.

    A tolerance is a bound, so the relative errors are uniform within ± the tolerance and
    independent; the temperature is normal. Whoever measures only voltages cannot tell a unit from
    one whose resistors, inductor and 1/C are all larger by the same factor and whose transistor
    carries as much less current.

    Attributes:
        R1: tolerance of the source's resistance, dimensionless, within [0, 1) (likewise below).
        L: of the inductance.
        RL: of the winding resistance.
        C: of the capacitance.
        Rb: of the base resistor.
        Rc: of the collector resistor.
        Is: of the transistor's saturation currents.
        Bf: of the transistor's current gain.
        temperature: standard deviation of the transistor's temperature, K.

    Raises:
        ValueError: a tolerance outside of [0, 1), or a negative deviation.

    Example:
        >>> unit = CircuitSpread(L=0.1).single(Circuit(), seed=5)
        >>> bool(unit.mismatch.L.abs() <= 0.1), unit.units
        (True, ())
    """

    R1: float = 0.05
    L: float = 0.05
    RL: float = 0.05
    C: float = 0.05
    Rb: float = 0.05
    Rc: float = 0.05
    Is: float = 0.3
    Bf: float = 0.3
    temperature: float = 5.0

    def __post_init__(self) -> None:
        for each in fields(self):
            value, name = getattr(self, each.name), each.name
            if name == "temperature":
                check(value >= 0, name, expected=">= 0 (K)", got=value)
            else:
                check(0 <= value < 1, name, expected="within [0, 1)", got=value)

    def single(self, system: Circuit, seed: int) -> Circuit:
        drawn = self._draw(system, seed)
        return system.with_mismatch(CircuitMismatch(**drawn))

    def perturb(self, system: Circuit, seeds: Sequence[int]) -> Circuit:
        drawn = [self._draw(system, seed) for seed in seeds]
        fleet = {name: torch.stack([one[name] for one in drawn]) for name in drawn[0]}
        return system.with_mismatch(CircuitMismatch(**fleet))

    def _draw(self, system: Circuit, seed: int) -> dict[str, Tensor]:
        check_kind(
            system,
            Circuit,
            "system",
            expected="a Circuit",
            remedy="Every system has a spread of its own.",
        )
        generator = stream(seed, "mismatch")
        tolerances = dataclasses.asdict(self)
        deviation = tolerances.pop("temperature")
        # All are always drawn, in float64: a seed is the same pattern at every spread and dtype.
        uniform = 2 * torch.rand(len(tolerances), generator=generator, dtype=torch.float64) - 1
        normal = torch.randn((), generator=generator, dtype=torch.float64)
        dtype = torch.get_default_dtype()
        errors = zip(tolerances.items(), uniform)
        drawn = {name: (tolerance * error).to(dtype) for (name, tolerance), error in errors}
        return {**drawn, "temperature": (deviation * normal).to(dtype)}
