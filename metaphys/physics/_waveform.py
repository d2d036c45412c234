"""What systems that answer a waveform with a waveform have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, final

import torch
from torch import Tensor

from metaphys._errors import check
from metaphys.physics._ports import Ports
from metaphys.physics._system import System

if TYPE_CHECKING:
    from typing_extensions import Self


class WaveformSystem(System):
    """A system of N samples in and N + G out, that has no controls of its own.

    What shares the channel with the data is in front of it (:class:`Encoded`). A final subclass
    keeps what it is made from, the mismatch too, under the names of its arguments.

    Args:
        samples: N, the samples of the drive.
        guard: G, the silent samples after it that are read out too.
        rate: samples a second, in Hz.
        substeps: integration steps in a sample.

    Raises:
        ValueError: ``samples`` or ``substeps`` < 1, ``guard`` < 0, ``rate`` <= 0.
    """

    mismatch: Any
    _arguments: ClassVar[tuple[str, ...]]
    """The names of all arguments but ``mismatch``."""

    def __init__(self, samples: int, guard: int, rate: float, substeps: int) -> None:
        check(samples >= 1, "samples", expected=">= 1", got=samples)
        check(guard >= 0, "guard", expected=">= 0", got=guard)
        check(rate > 0, "rate", expected="> 0 (Hz)", got=rate)
        check(substeps >= 1, "substeps", expected=">= 1", got=substeps)
        self.samples, self.guard, self.rate, self.substeps = samples, guard, rate, substeps
        self.ports = Ports(samples, {}, samples + guard)

    @final
    def __repr__(self) -> str:
        units = f", units={self.units}" if self.units else ""
        sizes = f"samples={self.samples}, guard={self.guard}, rate={self.rate}"
        return f"{type(self).__name__}({sizes}{units})"

    @final
    def with_mismatch(self, mismatch: Any) -> Self:
        """The same system with another mismatch (``None``: the nominal one)."""
        make: Any = type(self)
        return make(**{name: getattr(self, name) for name in self._arguments}, mismatch=mismatch)

    @final
    def init_controls(
        self,
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> dict[str, Tensor]:
        """None: the empty dict."""
        return {}
