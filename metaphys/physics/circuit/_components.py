"""What the circuit is made of: values in SI units, and how the transistor follows temperature."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import final

from metaphys._errors import check

BOLTZMANN_OVER_CHARGE = 1.380649e-23 / 1.602176634e-19
"""k/q, V/K (exact since 2019)."""

NOMINAL_TEMPERATURE = 300.15
"""Temperature at which the parameters of a transistor are given, K: 27 °C, as in SPICE."""


def check_positive(thing: object, names: tuple[str, ...]) -> None:
    for name in names:
        value = getattr(thing, name)
        check(value > 0 and math.isfinite(value), name, expected="> 0 and finite", got=value)


@final
@dataclass(frozen=True)
class Transistor:
    """DC parameters of an npn transistor (Ebers and Moll, with SPICE's names and laws).

    The defaults are those of the 2N3904 in the manufacturers' public SPICE card. The Early effect,
    high injection and charges are left out: at 50 kHz they change v(b) by 0.2 % together.

    Attributes:
        Is: transport saturation current, A.
        Bf: forward current gain β, dimensionless.
        Br: reverse current gain, dimensionless. In saturation the base-collector junction takes
            most of the base current: without it v(b) is off by 1.6 %.
        Ise: base-emitter leakage saturation current, A.
        Ne: its emission coefficient, dimensionless.
        rb: base resistance, Ω.
        rc: collector resistance, Ω.
        Eg: band gap, eV.
        Xti: exponent of the saturation current's temperature law.
        Xtb: exponent of the current gains' temperature law.
    """

    Is: float = 6.734e-15
    Bf: float = 416.4
    Br: float = 0.7371
    Ise: float = 6.734e-15
    Ne: float = 1.259
    rb: float = 10.0
    rc: float = 1.0
    Eg: float = 1.11
    Xti: float = 3.0
    Xtb: float = 1.5

    def __post_init__(self) -> None:
        check_positive(self, ("Is", "Bf", "Br", "Ise", "Ne", "Eg"))
        for name in ("rb", "rc"):
            value = getattr(self, name)
            check(value >= 0, name, expected=">= 0", got=value)


@final
@dataclass(frozen=True)
class Components:
    """The components of :class:`Circuit`, in SI units.

    Attributes:
        R1: resistance of the source, Ω.
        L: inductance, H.
        RL: winding resistance of the inductor, Ω.
        C: capacitance, F.
        Rb: resistor from the output to the transistor's base, Ω.
        Rc: resistor from the supply to the collector, Ω.
        Vcc: supply, V.
        transistor: parameters of the transistor; ``None`` for the linear circuit without it.
        temperature: of the transistor, K.

    Example:
        >>> parts = Components()
        >>> f"{parts.resonance / 1e3:.2f} kHz, Q = {parts.quality:.2f}"
        '50.33 kHz, Q = 3.07'
    """

    R1: float = 100.0
    L: float = 1e-3
    RL: float = 3.0
    C: float = 10e-9
    Rb: float = 1e3
    Rc: float = 1e3
    Vcc: float = 5.0
    transistor: Transistor | None = field(default_factory=Transistor)
    temperature: float = NOMINAL_TEMPERATURE

    def __post_init__(self) -> None:
        check_positive(self, ("R1", "L", "C", "Rb", "Rc", "Vcc", "temperature"))
        check(self.RL >= 0, "RL", expected=">= 0", got=self.RL)

    @property
    def resonance(self) -> float:
        """f0 = 1/(2π √(LC)), Hz, of the linear circuit."""
        return 1 / (2 * math.pi * math.sqrt(self.L * self.C))

    @property
    def quality(self) -> float:
        """Q = √(L/C)/(R1 + RL), dimensionless, of the linear circuit."""
        return math.sqrt(self.L / self.C) / (self.R1 + self.RL)

    def linear(self) -> Components:
        """The same without the transistor."""
        return dataclasses.replace(self, transistor=None)
