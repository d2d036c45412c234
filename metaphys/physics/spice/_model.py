"""What the semiconductors of a netlist refer to."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

from metaphys._errors import check
from metaphys.physics.spice._elements import check_name, number


@final
@dataclass(frozen=True)
class Model:
    """A ``.model`` card: parameters of a semiconductor under SPICE's names, in SI units.

    Attributes:
        name: by which elements refer to it.
        kind: SPICE's type, such as ``D``, ``NPN``, ``NMOS``.
        parameters: numbers by name; SPICE's defaults for the rest.
    """

    name: str
    kind: str
    parameters: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key, value in {"name": self.name, "kind": self.kind}.items():
            check_name(key, value)
        for key, value in self.parameters.items():
            check_name(f"{self.name}'s parameter", key)
            expected = "a finite number"
            check(math.isfinite(value), f"{self.name}.{key}", expected=expected, got=value)

    def line(self) -> str:
        """The card as SPICE reads it."""
        given = " ".join(f"{key}={number(value)}" for key, value in self.parameters.items())
        return f".model {self.name} {self.kind}({given})"
