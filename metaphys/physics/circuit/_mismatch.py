"""How one unit of the circuit departs from its nominal components."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import final

from torch import Tensor

from metaphys._errors import check, check_kind

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
