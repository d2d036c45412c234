"""Every system: forward mode to second order, against differences and reverse mode."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import grad, jvp

from metaphys.physics import (
    SHG,
    Circuit,
    OscillatorArray,
    Plate,
    PlateDesign,
    PulseShaper,
    Spectrometer,
    System,
    ThinSHG,
    TimeWindow,
)

OPTICS: dict[str, Any] = {
    "shaper": PulseShaper(6, 6.0),
    "spectrometer": Spectrometer(5, 8.0),
    "window": TimeWindow(4.0, 64),
}
SYSTEMS: dict[str, System] = {
    "oscillators": OscillatorArray(4),
    "plate": Plate(samples=8, guard=2),
    "Duffing plate": Plate(PlateDesign(modes=3, stiffening=1.5), samples=8),
    "circuit": Circuit(samples=8),
    "SHG": SHG(**OPTICS, steps=3),
    "thin SHG": ThinSHG(**OPTICS),
}


@pytest.mark.parametrize("name", SYSTEMS)
def test_forward_mode_is_differences_and_reverse_mode(name: str, generator: Any) -> None:
    system = SYSTEMS[name]
    drive, along = torch.rand(2, system.ports.drive, generator=generator) + 0.1
    # Newtons that bend the plate by about its thickness.
    drive, along = (1000 * each if name == "Duffing plate" else each for each in (drive, along))
    controls = system.init_controls(generator=generator)
    weights = torch.linspace(0.5, 1.5, system.ports.readout)
    with torch.no_grad():
        unit = system(drive, controls).abs().max()

    def loss(t: Tensor) -> Tensor:
        return (weights * system(drive + t * along, controls) / unit).sin().sum()

    def pushed(f: Any) -> Any:
        return lambda t: jvp(f, (t,), (torch.ones_like(t),))[1]

    t, h = torch.tensor(0.05), 1e-4
    derivatives = [loss, pushed(loss), pushed(pushed(loss))]
    slopes = [loss, grad(loss), grad(grad(loss))]
    for order in (1, 2):
        lower = derivatives[order - 1]
        # Truncation h² f''' / 6, and rounding of 1e-16 / h.
        expected = (lower(t + h) - lower(t - h)) / (2 * h)
        found = derivatives[order](t)
        assert found.abs() > 1e-3
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-9)
        torch.testing.assert_close(found, slopes[order](t), rtol=1e-8, atol=1e-11)
