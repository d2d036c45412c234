"""A circuit as typed elements between a driven node and a node that is read."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from metaphys._errors import check
from metaphys.physics.spice._elements import Element
from metaphys.physics.spice._model import Model


@final
@dataclass(frozen=True)
class Netlist:
    """A circuit between a node that is driven and a node that is read out.

    Attributes:
        elements: what it is made of, without the source that drives it.
        models: what its semiconductors refer to.
        drive: the node at which a voltage source (to ground) plays the drive.
        readout: the node whose voltage (to ground) is read.

    Raises:
        TypeError: an element or a model is none.
        ValueError: two elements of one name, a node or a model that is not there.

    Example:
        >>> from metaphys.physics.spice import Capacitor, Resistor
        >>> low_pass = Netlist([Resistor("1", "in", "out", 1e3), Capacitor("1", "out", "0", 1e-9)],
        ...                    drive="in", readout="out")
        >>> low_pass.lines()
        ['R1 in out 1000.0', 'C1 out 0 1e-09']
        >>> low_pass.replace("R1", ohms=2e3).lines()[0]
        'R1 in out 2000.0'
    """

    elements: Sequence[Element]
    models: Sequence[Model] = ()
    drive: str = "in"
    readout: str = "out"

    def __post_init__(self) -> None:
        for name, kind in (("elements", Element), ("models", Model)):
            for each in getattr(self, name):
                expected = f"made of {kind.__name__}s"
                check(isinstance(each, kind), name, expected=expected, got=each, error=TypeError)
        known = [model.name.casefold() for model in self.models]
        names = [(each.letter + each.name).casefold() for each in self.elements]
        for kind, found in (("elements", names), ("models", known)):
            twice = sorted({name for name in found if found.count(name) > 1})
            check(not twice, kind, expected="of different names", got=", ".join(twice))
        nodes = {node.casefold() for each in self.elements for node in each.nodes}
        check("0" in nodes, "elements", expected="connected to ground, node '0'", got=sorted(nodes))
        for name in ("drive", "readout"):
            node = getattr(self, name)
            there = node.casefold() in nodes and node != "0"
            check(there, name, expected=f"one of the nodes {sorted(nodes)}", got=repr(node))
        for each in self.elements:
            model = getattr(each, "model", None)
            fits = model is None or model.casefold() in known
            check(fits, f"{each.name}.model", expected=f"one of {known}", got=repr(model))

    def replace(self, name: str, **values: float) -> Netlist:
        """The same with other values of the element ``name`` (letter in front, as ``"R1"``).

        Raises:
            ValueError: no such element, or a value that it does not have.
        """
        names = [each.letter + each.name for each in self.elements]
        check(name in names, "name", expected=f"one of {names}", got=repr(name))
        place = names.index(name)
        own = set(self.elements[place].values())
        check(set(values) <= own, "values", expected=f"among {sorted(own)}", got=sorted(values))
        changed = list(self.elements)
        changed[place] = dataclasses.replace(changed[place], **values)
        return dataclasses.replace(self, elements=changed)

    def lines(self) -> list[str]:
        """Elements and models as SPICE reads them."""
        return [each.line() for each in (*self.elements, *self.models)]
