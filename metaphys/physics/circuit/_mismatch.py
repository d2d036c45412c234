"""How one unit of the circuit departs from its nominal components."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import final

from torch import Tensor

from metaphys._errors import check, check_kind
from metaphys.physics._ports import align

RELATIVE = ("R1", "L", "RL", "C", "Rb", "Rc", "Is", "Bf")
"""Components whose mismatch is relative: value · (1 + mismatch)."""


@final
@dataclass(frozen=True)
class CircuitMismatch:
    """How one unit (or each unit of a fleet) departs from the nominal circuit.

    Every field is a tensor whose dimensions are units, ``()`` or ``(U,)``, aligned left with those
    of the drive; ``None`` for none. Tensors that require grad are differentiated like controls.

    Attributes:
        R1: relative error of the source's resistance, dimensionless, > -1 (likewise below).
        L: of the inductance.
        RL: of the winding resistance.
        C: of the capacitance.
        Rb: of the base resistor.
        Rc: of the collector resistor.
        Is: of the transistor's saturation currents ``Is`` and ``Ise``.
        Bf: of the transistor's forward current gain.
        temperature: offset of the transistor's temperature, K.
        source: compression κ of the amplifier that drives the circuit, 1/V², >= 0: u of the drive
            arrives as u/√(1 + κ u²).
        reading: that of the amplifier which its voltage is read through.
    """

    R1: Tensor | None = None
    L: Tensor | None = None
    RL: Tensor | None = None
    C: Tensor | None = None
    Rb: Tensor | None = None
    Rc: Tensor | None = None
    Is: Tensor | None = None
    Bf: Tensor | None = None
    temperature: Tensor | None = None
    source: Tensor | None = None
    reading: Tensor | None = None

    def given(self) -> dict[str, Tensor]:
        """The fields that are not ``None``, by name."""
        named = ((f.name, getattr(self, f.name)) for f in fields(self))
        return {name: value for name, value in named if value is not None}

    def units(self) -> tuple[int, ...]:
        """The leading dimensions.

        Raises:
            TypeError: a field is no tensor.
            ValueError: the shapes do not agree.
        """
        longest: tuple[int, ...] = ()
        for name, value in self.given().items():
            check_kind(
                value,
                Tensor,
                f"mismatch.{name}",
                expected="a tensor",
                remedy="Convert it with torch.as_tensor.",
            )
            longest = max(longest, tuple(value.shape), key=len)
        for name, value in self.given().items():
            check(
                tuple(value.shape) == longest[: value.ndim],
                f"mismatch.{name}",
                expected=f"of a shape that {longest} begins with, as another field has it",
                got=tuple(value.shape),
            )
        return longest


def compressed(x: Tensor, by: Tensor | None) -> Tensor:
    """Voltages (*units, ..., N) behind an amplifier: x/√(1 + κ x²), κ a number of each unit."""
    if by is None:
        return x
    kappa = align(by.to(x), 0, x.ndim)
    return x * (1 + kappa * x.square()).rsqrt()
