"""A simulated unit whose mismatch walks at random."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, final

from torch import Tensor

from metaphys._errors import check
from metaphys.physics._device import Device
from metaphys.physics._system import System
from metaphys.physics.wrappers._walk import Walk, calls_of_a_unit


@final
class DriftingDevice(Device):
    """A simulated unit, or fleet, whose mismatch walks at random.

    Every element of the named fields takes a step of the given size every ``interval`` calls of a
    unit. What is measured at once is measured on one mismatch: the walk goes on between
    measurements.

    Args:
        system: the unit; its ``mismatch`` has a tensor in every field of ``steps``.
        steps: standard deviation of a step by name of the field, in the field's unit.
        interval: calls of a unit in a step.
        seed: integer seed, or one for each unit of a fleet; an integer s stands for s, s + 1, …

    Raises:
        TypeError: ``system`` is no system with a mismatch.
        ValueError: a field that the mismatch does not have or that is ``None``, a negative step,
            ``interval`` < 1, or another number of seeds than units.

    Example:
        >>> import torch
        >>> from metaphys.physics import Plate, PlateSpread
        >>> unit = PlateSpread().single(Plate(samples=3), seed=0)
        >>> device = DriftingDevice(unit, {"thickness": 1e-3, "damping": 1e-2}, interval=100)
        >>> before = device.measure(torch.ones(100, 3), {})
        >>> after = device.measure(torch.ones(100, 3), {})
        >>> bool((before != after).any())
        True
    """

    def __init__(
        self,
        system: System,
        steps: Mapping[str, float],
        *,
        interval: int = 1,
        seed: int | Sequence[int] = 0,
    ) -> None:
        nominal: Any = system
        check(
            isinstance(system, System) and hasattr(system, "with_mismatch"),
            "system",
            expected="a System with a mismatch",
            got=type(system).__name__,
            error=TypeError,
        )
        for name, step in steps.items():
            check(step >= 0, f"steps[{name!r}]", expected=">= 0", got=step)
            check(
                isinstance(getattr(nominal.mismatch, name, None), Tensor),
                "steps",
                expected="for fields of the mismatch that hold tensors",
                got=name,
                remedy="Draw the unit from a spread, or give it a mismatch of zeros.",
            )
        self._nominal, self.steps, self.interval = nominal, dict(steps), interval
        self.ports, self.units = system.ports, system.units
        self._walks = {
            name: Walk(self.units, seed, name, interval=interval, size=self._size(name))
            for name in steps
        }

    def __repr__(self) -> str:
        return f"DriftingDevice({self._nominal}, {self.steps}, interval={self.interval})"

    def _size(self, name: str) -> int:
        return getattr(self._nominal.mismatch, name)[(0,) * len(self.units)].numel()

    @property
    def system(self) -> System:
        """The unit as it is now."""
        moved = {}
        for name, walk in self._walks.items():
            start = getattr(self._nominal.mismatch, name)
            moved[name] = start + self.steps[name] * walk.place.to(start).reshape(start.shape)
        return self._nominal.with_mismatch(dataclasses.replace(self._nominal.mismatch, **moved))

    def state_dict(self) -> dict[str, Any]:
        walks = {name: walk.state() for name, walk in self._walks.items()}
        return {**super().state_dict(), "walks": walks}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, walk in self._walks.items():
            walk.load(state["walks"][name])
        super().load_state_dict(state)

    def _read(self, drive: Tensor, controls: Any) -> Tensor:
        readout = self.system(drive, controls)
        for walk in self._walks.values():
            walk.advance(calls_of_a_unit(self, drive))
        return readout
