"""How data and trainable controls share one physical channel."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from metaphys._errors import check
from metaphys.physics._ports import align


class Encoding(abc.ABC):
    """How data and controls become the drive of a system that takes n values.

    An encoding is made by the computer in front of the hardware, so it is known exactly: it is
    differentiated as it is, and what a device is given is the finished drive.
    """

    @abc.abstractmethod
    def data(self, n: int) -> int:
        """The number of data values for a drive of ``n``."""

    @abc.abstractmethod
    def shapes(self, n: int) -> dict[str, tuple[int, ...]]:
        """The shapes of the controls for a drive of ``n``, by name."""

    @abc.abstractmethod
    def init_controls(self, n: int, generator: torch.Generator | None) -> dict[str, Tensor]:
        """Controls to start training from, in float64 on the CPU."""

    @abc.abstractmethod
    def wanted(self, x: Tensor, controls: dict[str, Tensor]) -> Tensor:
        """The drive (..., n) of ``x`` (..., ``data(n)``) for hardware without limits.

        Controls are aligned left.
        """

    @property
    @abc.abstractmethod
    def limits(self) -> tuple[float | None, float | None]:
        """The least and the greatest drive that the hardware takes; ``None`` for no limit."""

    def drive(self, x: Tensor, controls: dict[str, Tensor]) -> Tensor:
        """The drive (..., n) of ``x`` (..., ``data(n)``), within the limits."""
        return limited(self.wanted(x, controls), *self.limits)

    def excess(self, x: Tensor, controls: dict[str, Tensor]) -> Tensor:
        r"""(...) by how much the wanted drive u leaves the limits: what is clamped has no gradient.

        .. math::
            \frac{1}{n} \sum_i
            \Bigl(\frac{u_i - \operatorname{clamp}(u_i)}{\text{high} - \text{low}}\Bigr)^2

        With one limit, or none, it is in the drive's unit squared.
        """
        wanted, (low, high) = self.wanted(x, controls), self.limits
        unit = 1.0 if low is None or high is None else high - low
        return ((wanted - limited(wanted, low, high)) / unit).square().mean(-1)


@final
@dataclass(frozen=True)
class Affine(Encoding):
    r"""Every value of the drive is a clamped affine function of the data at its place.

    .. math::
        F_i = \operatorname{clamp}\Bigl(\sum_j s_{ji} x_{ji} + b_i, \text{low}, \text{high}\Bigr)

    With ``inputs`` = 2 a layer gets the readout of the one before and the image again: data are
    concatenated, (x_1, x_2) of 2n values.

    Controls: ``scale`` s (..., inputs, n), drive units per unit of data; ``offset`` b (..., n),
    drive units. Where the drive is clamped its derivatives are zero.

    Source: the layers of Wright, Onodera et al., Nature 601, 549 (2022), Methods.

    Attributes:
        inputs: how many data values make one value of the drive.
        low: the least drive that the hardware takes, in drive units; ``None`` for no limit.
        high: the greatest.
        scale: mean of the initial scales.
        offset: mean of the initial offsets.
        spread: standard deviation of both around their means.

    Raises:
        ValueError: ``inputs`` < 1, ``low`` >= ``high`` or ``spread`` < 0.

    Example:
        >>> encoding = Affine(low=0.0, high=1.0)
        >>> controls = {"scale": torch.tensor([[2.0, 2.0]]), "offset": torch.tensor([0.1, -0.1])}
        >>> encoding.drive(torch.tensor([0.2, 0.9]), controls)
        tensor([0.5000, 1.0000])
    """

    inputs: int = 1
    low: float | None = None
    high: float | None = None
    scale: float = 1.0
    offset: float = 0.0
    spread: float = 0.0

    def __post_init__(self) -> None:
        check(self.inputs >= 1, "inputs", expected=">= 1", got=self.inputs)
        check(self.spread >= 0, "spread", expected=">= 0", got=self.spread)
        check_range(self.low, self.high)

    def data(self, n: int) -> int:
        return self.inputs * n

    def shapes(self, n: int) -> dict[str, tuple[int, ...]]:
        return {"scale": (self.inputs, n), "offset": (n,)}

    def init_controls(self, n: int, generator: torch.Generator | None) -> dict[str, Tensor]:
        def around(mean: float, *shape: int) -> Tensor:
            return mean + self.spread * torch.randn(shape, generator=generator, dtype=torch.float64)

        return {
            "scale": around(self.scale, self.inputs, n),
            "offset": around(self.offset, n),
        }

    @property
    def limits(self) -> tuple[float | None, float | None]:
        return self.low, self.high

    def wanted(self, x: Tensor, controls: dict[str, Tensor]) -> Tensor:
        scale, offset, count = controls["scale"], controls["offset"], x.ndim - 1
        if self.inputs == 1:
            drive = align(scale.squeeze(-2), 1, count) * x
        else:
            parts = x.reshape(*x.shape[:-1], self.inputs, -1)
            drive = (align(scale, 2, count) * parts).sum(-2)
        return drive + align(offset, 1, count)


@final
@dataclass(frozen=True)
class Interleaved(Encoding):
    """Data and controls take turns: x_1, c_1, x_2, c_2 …, clamped.

    Control: ``inserted`` c (..., n / 2), in drive units, as the data.

    Source: the SHG layers of Wright, Onodera et al., Nature 601, 549 (2022), Methods: 50 data
    values and 50 controls in the 100 bins of a pulse shaper, within [0, 1].

    Attributes:
        low: the least drive that the hardware takes, in drive units.
        high: the greatest. Controls start uniform between the two.

    Raises:
        ValueError: ``low`` >= ``high``; a drive of an odd number of values.

    Example:
        >>> Interleaved().drive(torch.tensor([0.1, 2.0]), {"inserted": torch.tensor([0.3, 0.4])})
        tensor([0.1000, 0.3000, 1.0000, 0.4000])
    """

    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        check_range(self.low, self.high)

    def data(self, n: int) -> int:
        check(n % 2 == 0, "f", expected="a system that takes an even number of values", got=n)
        return n // 2

    def shapes(self, n: int) -> dict[str, tuple[int, ...]]:
        return {"inserted": (self.data(n),)}

    def init_controls(self, n: int, generator: torch.Generator | None) -> dict[str, Tensor]:
        unit = torch.rand(self.data(n), generator=generator, dtype=torch.float64)
        return {"inserted": self.low + (self.high - self.low) * unit}

    @property
    def limits(self) -> tuple[float | None, float | None]:
        return self.low, self.high

    def wanted(self, x: Tensor, controls: dict[str, Tensor]) -> Tensor:
        inserted = align(controls["inserted"], 1, x.ndim - 1).expand_as(x)
        return torch.stack([x, inserted], -1).flatten(-2)


def check_range(low: float | None, high: float | None) -> None:
    """Refuse a range that is empty."""
    if low is not None and high is not None:
        check(low < high, "low", expected=f"< high = {high}", got=low)


def limited(drive: Tensor, low: float | None, high: float | None) -> Tensor:
    """``drive`` within the range of the hardware."""
    return drive if low is None and high is None else torch.clamp(drive, low, high)
