"""What is not known of a unit of an oscillator array: every coupling once, and the gains."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from metaphys._errors import check
from metaphys.physics._ports import Ports
from metaphys.physics._unknowns import Unknowns
from metaphys.physics.oscillators._array import OscillatorArray
from metaphys.physics.oscillators._mismatch import OscillatorMismatch
from metaphys.physics.oscillators._sensitivity import sensitivity
from metaphys.physics.oscillators._spread import OscillatorSpread


@final
@dataclass(frozen=True)
class OscillatorUnknowns(Unknowns):
    r"""Offsets of J_ab = J_ba ~ N(0, coupling²), a < b, and gains eta ~ N(gain, gain_deviation²).

    Only the symmetric part of a coupling's offset acts, so that it is N (N − 1) / 2 scores and not
    N²; the gains follow them, one, or one for each oscillator.

    Attributes:
        array: the nominal array.
        coupling: standard deviation of the offset of J, dimensionless.
        gain: mean of eta, dimensionless.
        gain_deviation: standard deviation of eta.
        per_oscillator: whether every oscillator has an eta of its own.

    Raises:
        ValueError: ``coupling`` <= 0, ``gain_deviation`` < 0, or a fleet.

    Example:
        >>> spread = OscillatorSpread(coupling=1.0, gain=0.1, gain_spread=0.05)
        >>> unknowns = OscillatorUnknowns.of(OscillatorArray(4), spread)
        >>> unknowns.size, round(unknowns.coupling, 3)
        (7, 0.707)
        >>> unknowns.system(torch.zeros(7)).mismatch.gain
        tensor([0.1000])
    """

    array: OscillatorArray
    coupling: float
    gain: float = 0.0
    gain_deviation: float = 0.0
    per_oscillator: bool = False

    def __post_init__(self) -> None:
        check(self.coupling > 0, "coupling", expected="> 0", got=self.coupling)
        check(self.gain_deviation >= 0, "gain_deviation", expected=">= 0", got=self.gain_deviation)
        check(not self.array.units, "array", expected="one unit", got=self.array.units)

    @classmethod
    def of(cls, array: OscillatorArray, spread: OscillatorSpread) -> OscillatorUnknowns:
        """Those of a spread that is known, its relative tolerances left out."""
        deviation = spread.coupling / math.sqrt(2)  # of (R + Rᵀ) / 2
        return cls(array, deviation, spread.gain, spread.gain_spread, spread.per_oscillator)

    @property
    def ports(self) -> Ports:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Those of the array."""
        return self.array.ports

    @property
    def pairs(self) -> int:
        """How many couplings there are."""
        return self.array.size * (self.array.size - 1) // 2

    @property
    def size(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Couplings and gains."""
        return self.pairs + (self.array.size if self.per_oscillator else 1)

    def offsets(self, z: Tensor) -> Tensor:
        """The offsets of J, (..., N, N), symmetric, at scores z (..., p)."""
        n = self.array.size
        place = torch.zeros(n, n, dtype=torch.long, device=z.device)
        rows, columns = torch.triu_indices(n, n, 1, device=z.device)
        place[rows, columns] = torch.arange(self.pairs, device=z.device)
        spread = self.coupling * z[..., : self.pairs]
        full = spread[..., (place + place.mT).flatten()].unflatten(-1, (n, n))
        return full * (1 - torch.eye(n, dtype=z.dtype, device=z.device))

    def gains(self, z: Tensor) -> Tensor:
        """The gains (..., 1) or (..., N) at scores z (..., p)."""
        return self.gain + self.gain_deviation * z[..., self.pairs :]

    def system(self, z: Tensor) -> OscillatorArray:
        mismatch = OscillatorMismatch(coupling=self.offsets(z), gain=self.gains(z))
        return self.array.with_mismatch(mismatch)

    def linearised(self, z: Tensor, drives: Tensor, controls: Any) -> tuple[Tensor, Tensor]:
        found = sensitivity(self.system(z), drives, controls)
        gain = found.gain if self.per_oscillator else found.gain.sum(-1, keepdim=True)
        jacobian = torch.cat([self.coupling * found.coupling, self.gain_deviation * gain], -1)
        return found.readout, jacobian

    def refined(self, scores: Sequence[Tensor], variances: Sequence[Tensor]) -> OscillatorUnknowns:
        r"""The prior that explains some units better: one step of expectation maximisation.

        .. math::
            \tau^2 \leftarrow \tau^2 \langle z^2 + \operatorname{var} z \rangle
            \quad \text{over couplings}

        and the gains' mean and deviation likewise, over all units.
        """
        z, variance = torch.stack(list(scores)), torch.stack(list(variances))
        second = (z.square() + variance)[:, : self.pairs].mean()
        gains = self.gains(z)
        mean = gains.mean()
        spread = (gains - mean).square() + self.gain_deviation**2 * variance[:, self.pairs :]
        return dataclasses.replace(
            self,
            coupling=self.coupling * float(second.sqrt()),
            gain=float(mean),
            gain_deviation=float(spread.mean().sqrt()),
        )

    def moments(self) -> Tensor:
        return torch.tensor([self.coupling, self.gain, self.gain_deviation], dtype=torch.float64)

    def with_moments(self, moments: Tensor) -> OscillatorUnknowns:
        coupling, gain, deviation = moments.tolist()
        return dataclasses.replace(self, coupling=coupling, gain=gain, gain_deviation=deviation)

    def translated(self, z: Tensor, other: OscillatorUnknowns) -> Tensor:
        couplings = z[: self.pairs] * (self.coupling / other.coupling)
        gains = (self.gains(z) - other.gain) / max(other.gain_deviation, 1e-12)
        return torch.cat([couplings, gains])
