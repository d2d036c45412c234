"""One sample's way through the layers, what the twins would have answered, what was clamped."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from metaphys.nn import Measured, run_on
from metaphys.nn._excess import watched_excess
from metaphys.physics import Ports, System
from metaphys.training._data import some
from metaphys.training._draws import Params
from metaphys.training.unit._machine import Machine

SAMPLES = 50
"""Test samples whose drives are looked at, at most."""


@torch.no_grad()
def way(machine: Machine, params: Params, sample: int = 0) -> dict[str, Any]:
    """What happens to a test sample: for each layer its drive, the unit's and the twin's readout.

    Args:
        machine: the network and its unit.
        params: trained parameters.
        sample: which test sample.

    Returns:
        ``layers``, lists of numbers ``drive``, ``device``, ``twin`` and the relative ``error`` of
        the twin; ``logits``; ``target``; ``sample``.
    """
    taps = [_Tap(device, twin) for device, twin in zip(machine.devices("way"), machine.twins)]
    inputs = machine.data.test.inputs[sample : sample + 1]
    with run_on(machine.network, *taps):
        logits = functional_call(machine.network, params, (inputs,))
    return {
        "layers": [tap.seen for tap in taps],
        "logits": logits[0].tolist(),
        "target": int(machine.data.test.targets[sample]),
        "sample": sample,
    }


@torch.no_grad()
def excess(machine: Machine, params: Params) -> list[float]:
    """How far the drives of each layer leave the range of the hardware before they are clamped.

    A root mean square over test samples on the unit, as a part of the range.
    """
    part = some(machine.data.test, SAMPLES)
    physics = [Measured(device) for device in machine.devices("excess")]
    with run_on(machine.network, *physics), watched_excess(machine.network) as found:
        functional_call(machine.network, params, (part.inputs,))
    return torch.stack(found).sqrt().tolist()


class _Tap:
    """A device beside its twin: answers as the device, and keeps what both said."""

    def __init__(self, device: Any, twin: System) -> None:
        self._device, self._twin = device, twin
        self.ports: Ports = device.ports
        self.units: tuple[int, ...] = device.units
        self.seen: dict[str, Any] = {}

    def __call__(self, drive: Tensor, controls: Any) -> Tensor:
        readout, model = self._device.measure(drive, controls), self._twin(drive, controls)
        centred = readout - readout.mean()
        error = (model - readout).norm() / centred.norm().clamp(min=1e-30)
        named = {"drive": drive, "device": readout, "twin": model}
        self.seen = {name: value.flatten().tolist() for name, value in named.items()}
        self.seen["error"] = float(error)
        return readout
