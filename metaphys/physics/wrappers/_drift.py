"""A gain and an offset that walk at random."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

from torch import Tensor

from metaphys._errors import check
from metaphys.physics._device import Device
from metaphys.physics.wrappers._walk import Walk, calls_of_a_unit
from metaphys.physics.wrappers._wrapper import Wrapper


@final
class WithDrift(Wrapper):
    r"""A device whose gain and offset walk at random: :math:`(1 + g_i)\, y + o_i` at call i.

    .. math:: g_i = \text{gain} \sum_{s \le i / \text{interval}} \xi_s, \qquad \xi_s \sim N(0, 1),

    and likewise the offset, with numbers of its own. Call i of a unit is its i-th sample since the
    wrapper was made, whatever the batches: after n calls the standard deviation is
    gain · √(n / interval).

    Args:
        device: what is measured.
        gain: step of the relative gain, dimensionless.
        offset: step of the offset, in the readout's unit.
        interval: calls of a unit in a step.
        seed: integer seed, or one for each unit of a fleet; an integer s stands for s, s + 1, …

    Raises:
        ValueError: a negative step, ``interval`` < 1, or another number of seeds than units.

    Example:
        >>> import torch
        >>> from metaphys.physics import Plate, SimulatedDevice
        >>> device = WithDrift(SimulatedDevice(Plate(samples=3)), gain=0.01, interval=2, seed=1)
        >>> readout = device.measure(torch.ones(6, 3), {})
        >>> (readout[0] == readout).all(-1).tolist()          # a step after every second call
        [True, True, False, False, False, False]
    """

    def __init__(
        self,
        device: Device,
        *,
        gain: float = 0.0,
        offset: float = 0.0,
        interval: int = 1,
        seed: int | Sequence[int] = 0,
    ) -> None:
        super().__init__(device)
        check(gain >= 0, "gain", expected=">= 0", got=gain)
        check(offset >= 0, "offset", expected=">= 0", got=offset)
        self.gain, self.offset, self.interval = gain, offset, interval
        self._walks = {
            name: Walk(self.units, seed, name, interval=interval) for name in ("gain", "offset")
        }

    def __repr__(self) -> str:
        steps = f"gain={self.gain}, offset={self.offset}, interval={self.interval}"
        return f"WithDrift({self.device}, {steps})"

    def state_dict(self) -> dict[str, Any]:
        walks = {name: walk.state() for name, walk in self._walks.items()}
        return {**super().state_dict(), "walks": walks}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, walk in self._walks.items():
            walk.load(state["walks"][name])
        super().load_state_dict(state)

    def _read(self, drive: Tensor, controls: Any) -> Tensor:
        readout = self.device._take(drive, controls)
        calls = calls_of_a_unit(self, drive)
        gain, offset = (
            walk.advance(calls).to(readout).reshape(*readout.shape[:-1], 1)
            for walk in self._walks.values()
        )
        return (1 + self.gain * gain) * readout + self.offset * offset
