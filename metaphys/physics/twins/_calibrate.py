"""The physics itself as the twin, with the mismatch that explains a unit's readouts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, final

import optree
import torch
from torch import Tensor

from metaphys._errors import check
from metaphys.physics._system import System
from metaphys.physics.twins._fields import Fields, Prior
from metaphys.physics.twins._levenberg import Model, Solution, solve
from metaphys.physics.twins._nrmse import nrmse


@final
@dataclass(frozen=True)
class Combination:
    """One direction among the mismatches, and how much the readouts say about it.

    Attributes:
        told: s²/(s² + 1), with its singular value s: near 1 it is told by the readouts, near 0 by
            the prior alone.
        weights: by mismatch, its part in units of the prior's deviation; of norm 1.
    """

    told: float
    weights: dict[str, float]


@final
@dataclass(frozen=True)
class Calibration:
    """What :func:`calibrate` found.

    Attributes:
        twin: the system with the fitted mismatch.
        deviation: by field, the standard deviation that is left: the prior's where the readouts
            say nothing.
        noise: standard deviation of the readouts' noise, given or estimated.
        before: NRMSE of the system at the prior's mean on the readouts.
        after: that of the twin.
        steps: steps that were taken.
        converged: whether the last one was below the tolerance.
        combinations: directions among the mismatches, from the best told to the least.
    """

    twin: Any
    deviation: dict[str, Tensor]
    noise: float
    before: float
    after: float
    steps: int
    converged: bool
    combinations: list[Combination]


def calibrate(
    system: System,
    drives: Tensor,
    readouts: Tensor,
    *,
    prior: Prior,
    controls: Any = None,
    noise: float | None = None,
    draws: int = 0,
    steps: int = 30,
    tolerance: float = 1e-5,
) -> Calibration:
    r"""Fit a system's mismatch to the readouts of one unit.

    With the prior's mean μ and deviations τ, m = μ + τ z, it minimises

    .. math:: \frac{1}{2 \sigma^2} \sum_i \bigl|f_m(x_i, \theta) - y_i\bigr|^2 + \frac12 |z|^2

    by Levenberg and Marquardt's method in float64. What the readouts cannot tell stays at the
    prior's mean: ``deviation`` and ``combinations`` say what that is. It works for every system
    that has ``mismatch`` and ``with_mismatch``. A step takes about p sweeps of the model and
    O(n p²) operations for p mismatches and n < p numbers read out O(p³).

    Args:
        system: the nominal system, of one unit.
        drives: (*samples, ``ports.drive``), what the unit was driven with.
        readouts: (*samples, ``ports.readout``), what it answered.
        prior: a :class:`~metaphys.physics.Spread`, or tensors of standard deviations by field,
            such as ``{"gain": torch.tensor([0.1])}``.
        controls: those of the measurement; by default those of a system that has none.
        noise: standard deviation of the readouts' noise; ``None`` to estimate it.
        draws: units drawn from the prior. Where one of them is nearer to the readouts than the mean
            is, a second descent begins at the nearest, and the lower end counts. A resonance that
            is off by more than a period over the waveform makes local minima: then take some 200.
        steps: the most steps of a descent.
        tolerance: the change of z, in the prior's deviations, that ends it.

    Raises:
        TypeError, ValueError: shapes do not fit, readouts are not finite, the system has no
            mismatch or is a fleet, the prior does not fit, or ``noise`` <= 0.

    Example:
        >>> from metaphys.physics import Circuit, CircuitSpread
        >>> nominal = Circuit(samples=50)
        >>> unit = CircuitSpread().single(nominal, seed=3)
        >>> drives = torch.linspace(-2, 2, 50).roll(20).unsqueeze(0)
        >>> found = calibrate(nominal, drives, unit(drives, {}), prior=CircuitSpread())
        >>> found.before > 0.01, found.after < 1e-4, found.converged
        (True, True, True)
    """
    controls = {} if controls is None else controls
    fields = Fields(system, prior)
    _check(system, drives, readouts, controls, noise)
    wide, target = drives.detach().double(), readouts.detach().double().flatten()
    held: Any = optree.tree_map(lambda control: control.detach().double(), controls)

    def model(z: Tensor) -> Tensor:
        return fields.system(z)(wide, held).flatten()

    ends = [
        solve(model, target, start, noise=noise, steps=steps, tolerance=tolerance)
        for start in _starts(model, target, fields.size, draws)
    ]
    found = min(ends, key=lambda end: _height(model, target, end))
    with torch.no_grad():
        before = nrmse(model(torch.zeros_like(found.z)), target)
        after = nrmse(model(found.z), target)
    return Calibration(
        twin=fields.system(found.z, drives.dtype),
        deviation={n: d.to(drives.dtype) for n, d in _left(fields, found).items()},
        noise=found.noise,
        before=before,
        after=after,
        steps=found.steps,
        converged=found.converged,
        combinations=_combinations(fields, found),
    )


@torch.no_grad()
def _starts(model: Model, target: Tensor, size: int, draws: int) -> list[Tensor]:
    """The prior's mean, and the nearest of some draws if it is nearer."""
    generator = torch.Generator().manual_seed(0)
    mean = torch.zeros(size, dtype=target.dtype, device=target.device)
    drawn = [
        torch.randn(size, generator=generator, dtype=mean.dtype).to(mean) for _ in range(draws)
    ]
    nearest = min([mean, *drawn], key=lambda z: float((model(z) - target).norm()))
    return [mean] if nearest is mean else [mean, nearest]


@torch.no_grad()
def _height(model: Model, target: Tensor, end: Solution) -> float:
    """What is minimised, with the noise that was given or found: its logarithm's part too."""
    misfit = float((model(end.z) - target).square().sum()) / end.noise**2
    return (misfit + float(end.z.square().sum())) / 2 + len(target) * math.log(end.noise)


def _check(system: System, drives: Any, readouts: Any, controls: Any, noise: float | None) -> None:
    system.ports.check(drives, controls)
    expected = (*drives.shape[:-1], system.ports.readout)
    fits = isinstance(readouts, Tensor) and tuple(readouts.shape) == expected
    got = getattr(readouts, "shape", type(readouts).__name__)
    check(fits, "readouts", expected=f"of shape {expected}", got=got)
    check(readouts.numel() > 0, "readouts", expected="at least one", got=tuple(readouts.shape))
    bad = "values that are not"
    check(bool(readouts.isfinite().all()), "readouts", expected="finite", got=bad)
    check(noise is None or noise > 0, "noise", expected="> 0, or None to estimate it", got=noise)


def _left(fields: Fields, found: Solution) -> dict[str, Tensor]:
    """The posterior's deviations: the diagonal of V diag(1 / (s² + 1)) Vᵀ."""
    variance = (found.vectors.square() / (found.values.square() + 1).unsqueeze(-1)).sum(0)
    return fields.deviations(variance.sqrt())


def _combinations(fields: Fields, found: Solution) -> list[Combination]:
    told = found.values.square() / (found.values.square() + 1)
    names = fields.names
    return [
        Combination(share, dict(zip(names, row)))
        for share, row in zip(told.tolist(), found.vectors.tolist())
    ]
