"""Random walks that go on with every call of a device."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor

from metaphys._errors import check
from metaphys.physics._device import Device
from metaphys.physics.wrappers._streams import Streams


@final
class Walk:
    """A random walk a unit (of ``size`` components), one step of N(0, 1) every ``interval`` calls.

    It does not depend on how calls are batched.
    """

    def __init__(
        self,
        units: tuple[int, ...],
        seed: int | Sequence[int],
        name: str,
        *,
        interval: int,
        size: int = 1,
    ) -> None:
        check(interval >= 1, "interval", expected="a number of calls >= 1", got=interval)
        self._streams, self._interval = Streams(units, seed, f"drift of {name}"), interval
        self.place = torch.zeros(math.prod(units), size, dtype=torch.float64)
        self._calls = 0

    def advance(self, calls: int) -> Tensor:
        """Where it is at each of the next calls of a unit, (units, calls, size); it goes on."""
        begin, end = self._calls // self._interval, (self._calls + calls) // self._interval
        steps = self._streams.steps(end - begin, self.place.shape[-1])
        places = torch.cat([self.place.unsqueeze(1), steps], 1).cumsum(1)
        at = (self._calls + torch.arange(calls)) // self._interval - begin
        self.place, self._calls = places[:, -1], self._calls + calls
        return places[:, at]

    def state(self) -> dict[str, Any]:
        """What :meth:`load` goes on from."""
        place = self.place.clone()
        return {"place": place, "calls": self._calls, "streams": self._streams.state()}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a :meth:`state`."""
        self._streams.load(state["streams"])
        self.place, self._calls = state["place"].clone(), int(state["calls"])


def calls_of_a_unit(device: Device, drive: Tensor) -> int:
    """How many samples each unit of the device is driven with."""
    return math.prod(drive.shape[len(device.units) : -1])
