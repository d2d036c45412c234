"""The elements of a netlist, each a typed line of SPICE."""

from __future__ import annotations

import abc
import dataclasses
import math
import re
from dataclasses import dataclass
from typing import ClassVar, final

from metaphys._errors import check

_NAME = re.compile(r"[A-Za-z0-9_]+")


def number(value: float) -> str:
    """A number as SPICE reads it, to the last digit."""
    return repr(float(value))


def check_name(argument: str, value: object) -> None:
    """Refuse what would change the meaning of a line."""
    fits = isinstance(value, str) and _NAME.fullmatch(value) is not None
    check(fits, argument, expected="letters, digits and underscores", got=repr(value))


@dataclass(frozen=True)
class Element(abc.ABC):
    """One line of a netlist: a name, nodes (``"0"`` is ground) and values in SI units.

    Attributes:
        name: unique among elements of its kind, letters' case aside; SPICE's letter goes in front.
    """

    name: str
    letter: ClassVar[str]

    def __post_init__(self) -> None:
        check_name("name", self.name)
        for node in self.nodes:
            check_name(f"{self.name}'s node", node)
        for key, value in self.values().items():
            fits = isinstance(value, (int, float)) and math.isfinite(value)
            check(fits, f"{self.name}.{key}", expected="a finite number", got=value)

    @property
    @abc.abstractmethod
    def nodes(self) -> tuple[str, ...]:
        """What the element is connected to, in SPICE's order."""

    def values(self) -> dict[str, float]:
        """The fields that are numbers."""
        fields = ((f.name, getattr(self, f.name)) for f in dataclasses.fields(self))
        return {name: value for name, value in fields if not isinstance(value, str)}

    def line(self) -> str:
        """The element as SPICE reads it."""
        rest = [getattr(self, "model", ""), *map(number, self.values().values())]
        return " ".join([self.letter + self.name, *self.nodes, *(r for r in rest if r)])


@dataclass(frozen=True)
class _TwoNodes(Element):
    a: str
    b: str

    @property
    def nodes(self) -> tuple[str, ...]:
        return self.a, self.b


@final
@dataclass(frozen=True)
class Resistor(_TwoNodes):
    """``ohms`` between ``a`` and ``b``."""

    ohms: float
    letter: ClassVar[str] = "R"

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.ohms > 0, f"{self.name}.ohms", expected="> 0", got=self.ohms)


@final
@dataclass(frozen=True)
class Capacitor(_TwoNodes):
    """``farads`` between ``a`` and ``b``, without charge at the start."""

    farads: float
    letter: ClassVar[str] = "C"


@final
@dataclass(frozen=True)
class Inductor(_TwoNodes):
    """``henries`` between ``a`` and ``b``, without current at the start."""

    henries: float
    letter: ClassVar[str] = "L"


@final
@dataclass(frozen=True)
class VoltageSource(_TwoNodes):
    """Constant ``volts`` from ``b`` to ``a``."""

    volts: float
    letter: ClassVar[str] = "V"


@final
@dataclass(frozen=True)
class CurrentSource(_TwoNodes):
    """Constant ``amperes`` from ``a`` through the source to ``b``."""

    amperes: float
    letter: ClassVar[str] = "I"


@final
@dataclass(frozen=True)
class Amplifier(Element):
    """``gain`` times the voltage from ``minus`` to ``plus``, from ``b`` to ``a`` (SPICE's E)."""

    a: str
    b: str
    plus: str
    minus: str
    gain: float
    letter: ClassVar[str] = "E"

    @property
    def nodes(self) -> tuple[str, ...]:
        return self.a, self.b, self.plus, self.minus


@final
@dataclass(frozen=True)
class Diode(_TwoNodes):
    """A diode from ``a``, its anode, to ``b``, of a :class:`Model` of kind ``D``."""

    model: str
    letter: ClassVar[str] = "D"


@final
@dataclass(frozen=True)
class Bipolar(Element):
    """A bipolar transistor of a :class:`Model` of kind ``NPN`` or ``PNP``."""

    collector: str
    base: str
    emitter: str
    model: str
    letter: ClassVar[str] = "Q"

    @property
    def nodes(self) -> tuple[str, ...]:
        return self.collector, self.base, self.emitter


@final
@dataclass(frozen=True)
class Mosfet(Element):
    """A field-effect transistor of a :class:`Model` of kind ``NMOS`` or ``PMOS``."""

    drain: str
    gate: str
    source: str
    bulk: str
    model: str
    letter: ClassVar[str] = "M"

    @property
    def nodes(self) -> tuple[str, ...]:
        return self.drain, self.gate, self.source, self.bulk
