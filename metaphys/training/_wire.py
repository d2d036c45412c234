"""Physics removed: a wire where a system was, to see what the rest of a network does alone."""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool1d

from metaphys.physics import Ports, System


@final
class Wire(System):
    """The drive itself as the readout, averaged or repeated where the readout has another length.

    Args:
        ports: those of the system that is removed; its controls do nothing.

    Example:
        >>> Wire(Ports(drive=4, controls={}, readout=2))(torch.tensor([1.0, 3.0, 5.0, 5.0]), {})
        tensor([2., 5.])
    """

    def __init__(self, ports: Ports) -> None:
        self.ports = ports

    def init_controls(
        self,
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Any:
        """None: a wire has nothing to set."""
        return {}

    def _respond(self, drive: Tensor, controls: Any, settings: tuple[int, ...]) -> Tensor:
        if self.ports.readout == self.ports.drive:
            return drive
        rows = drive.reshape(-1, 1, self.ports.drive)
        return adaptive_avg_pool1d(rows, self.ports.readout).reshape(*drive.shape[:-1], -1)
