"""Physics with a learned correction."""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor

from metaphys.physics._system import System
from metaphys.physics.twins._inputs import rows, width
from metaphys.physics.twins._mlp import MLP
from metaphys.physics.twins._train import Schedule, train


@final
class Corrected(System):
    r"""A system and a network that adds what it lacks: f(x, θ) + δ(x, θ, f(x, θ)).

    The network starts at zero. Its first layer sees drive, controls and the system's readout, so
    that a memoryless error (a microphone that compresses) is as easy to learn as one of the drive.

    Args:
        system: the physics; calibrate it first, so that little is left to learn.
        hidden: widths of the network's hidden layers.
        generator: of the initial weights.

    Example:
        >>> from metaphys.physics import Circuit
        >>> circuit = Circuit(samples=10)
        >>> twin = Corrected(circuit, hidden=[8])
        >>> bool(twin(torch.ones(10), {}).equal(circuit(torch.ones(10), {})))
        True
    """

    def __init__(
        self,
        system: System,
        *,
        hidden: tuple[int, ...] | list[int] = (200, 200),
        generator: torch.Generator | None = None,
    ) -> None:
        self.system, self.ports, self.units = system, system.ports, system.units
        m = system.ports.readout
        self.correction = MLP([width(system.ports) + m, *hidden, m], generator)

    def __repr__(self) -> str:
        return f"Corrected({self.system}, {self.correction.sizes})"

    def init_controls(
        self,
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Any:
        """Those of the system."""
        return self.system.init_controls(generator=generator, dtype=dtype, device=device)

    def fit(
        self, drives: Tensor, controls: Any, readouts: Tensor, schedule: Schedule | None = None
    ) -> None:
        """Fit the correction to ``readouts`` (*samples, M) by least squares."""
        with torch.no_grad():
            model = self.system(drives, controls)
        inputs = torch.cat([rows(self.ports, drives, controls), model], -1).flatten(0, -2)
        missing = (readouts - model).flatten(0, -2)
        self.correction.standardise(inputs, missing, offset=False)
        scale = missing.square().mean().sqrt().clamp_min(torch.finfo(missing.dtype).tiny)

        def squared(index: Tensor) -> Tensor:
            return ((self.correction(inputs[index]) - missing[index]) / scale).square().mean()

        net = self.correction
        train(net, squared, len(inputs), Schedule() if schedule is None else schedule)

    def _respond(self, drive: Tensor, controls: Any, settings: tuple[int, ...]) -> Tensor:
        readout = self.system(drive, controls)
        inputs = torch.cat([rows(self.ports, drive, controls), readout], -1)
        return readout + self.correction(inputs)
