"""Readings brought back to the size that the nominal system gives them, by a factor for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor

from metaphys.physics import Device, System, WithGain, random_drives
from metaphys.training.drifting._setting import Setting

DRIVES = 256
"""Random drives that a reading's size is taken over; they cost no call."""


@final
class Equalizer:
    r"""What is believed of a unit's layers undoes how much brighter or darker each reading became.

    .. math::
        y_i \to g_i y_i, \qquad
        g_i^2 = \frac{\langle f^\text{nominal}_i(x)^2 \rangle + \sigma^2}
                     {\langle f^\text{twin}_i(x)^2 \rangle + \sigma^2}

    over random drives x; :math:`\sigma`, the readouts' noise, keeps a reading that has gone out
    from being amplified without end. The network meets readings of the size that it was made for:
    where a crystal's detuning moves its band away from a class's bin, the bin's logit would
    otherwise sink to where steps of training no longer bring it back. With ``equalize=False``
    nothing is multiplied.

    Args:
        setting: network and nominal system.
        systems: the believed system of each layer.

    Example:
        >>> from metaphys.physics import CircuitMismatch
        >>> from metaphys.training.drifting import DriftConfig, build
        >>> setting = build(DriftConfig(system="circuit", layers=1, equalize=True))
        >>> warm = setting.twin.with_mismatch(CircuitMismatch(temperature=torch.tensor(40.0)))
        >>> (there,) = Equalizer(setting, [warm]).twins
        >>> drives = torch.rand(3, setting.twin.ports.drive)
        >>> bool((there(drives, {}) / warm(drives, {})).allclose(there.gain.expand(3, -1)))
        True
    """

    def __init__(self, setting: Setting, systems: Sequence[System]) -> None:
        self._systems, self._gains = list(systems), None
        if setting.config.equalize:
            low, high = setting.limits
            drives = random_drives(setting.twin.ports, DRIVES, low=low, high=high)
            nominal = _size(setting.twin, drives, setting.sigma)
            sizes = [_size(system, drives, setting.sigma) for system in systems]
            self._gains = [nominal / size for size in sizes]

    @property
    def twins(self) -> list[System]:
        """The systems with their readings brought back."""
        if self._gains is None:
            return self._systems
        return [Amplified(*both) for both in zip(self._systems, self._gains, strict=True)]

    def devices(self, devices: Sequence[Device]) -> list[Device]:
        """Devices with the same factors behind them."""
        if self._gains is None:
            return list(devices)
        return [WithGain(*both) for both in zip(devices, self._gains, strict=True)]


def _size(system: System, drives: Tensor, sigma: float) -> Tensor:
    """(M,) root mean square of every reading, noise included."""
    with torch.no_grad():
        readings = system(drives, {})
    return (readings.square().mean(0) + sigma**2).sqrt()


@final
class Amplified(System):
    """A system with a factor on every reading.

    Args:
        system: of one unit.
        gain: (M,), dimensionless.
    """

    def __init__(self, system: System, gain: Tensor) -> None:
        self.system, self.gain, self.ports = system, gain, system.ports

    def init_controls(
        self,
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Any:
        return self.system.init_controls(generator=generator, dtype=dtype, device=device)

    def _respond(self, drive: Tensor, controls: Any, settings: tuple[int, ...]) -> Tensor:
        return self.gain.to(drive) * self.system(drive, controls)
