"""Two waves through a crystal: the coupled-wave equations by Strang splitting."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor
from torch.fft import fft, ifft

from metaphys._errors import check
from metaphys.physics._scan import Flat, scan
from metaphys.physics.shg._crystal import Crystal
from metaphys.physics.shg._kick import kick
from metaphys.physics.shg._window import TimeWindow

LONG = 256
"""From here on the gradient keeps √steps pairs of fields, for one more forward pass."""


@final
class SplitStep:
    """``steps`` times half a linear step, a nonlinear one, half a linear one; second order.

    Neighbouring halves are one factor in frequency, where dispersion is exact. The fields are
    scaled by κ = G h (see ``_kick.py``), and dk0 belongs to the linear part of A2 exp(−i dk0 z),
    so that nothing is multiplied by a constant inside the loop.
    """

    def __init__(self, crystal: Crystal, window: TimeWindow, steps: int) -> None:
        check(steps >= 1, "steps", expected=">= 1", got=steps)
        self.crystal, self.steps = crystal, steps
        self.h = crystal.length / steps
        self.kappa = crystal.coupling * self.h
        dispersive = isinstance(crystal.gvd1, Tensor) or crystal.gvd1 != 0
        self.phase1 = crystal.phase1(window) if dispersive else None
        self.phase2 = crystal.phase2(window)

    def enter(self, spectrum: Tensor) -> Tensor:
        """The scaled fundamental in time, half a linear step into the crystal."""
        return fft(self._advance(spectrum, self.phase1, 0.5) * self._cast(self.kappa, spectrum))

    def run(self, a: Tensor) -> tuple[Tensor, Tensor]:
        """Both scaled fields after the last nonlinear step."""
        full1 = None if self.phase1 is None else _factor(self.phase1 * self.h, a)
        full2 = _factor(self.phase2 * self.h, a)
        a, b = kick(a, torch.zeros_like(a))
        factors = (full2,) if full1 is None else (full2, full1)
        if self.steps >= LONG:
            nothing = a.real.new_empty(self.steps - 1, 0)
            (a, b), _ = scan(_step_of_scan, (a, b), factors, (nothing,))
            return a, b
        for _ in range(self.steps - 1):
            a, b = _step(a, b, *factors)
        return a, b

    def leave(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """The fields A1 and A2 at the exit."""
        kappa = self._cast(self.kappa, a)
        a = a if self.phase1 is None else fft(self._advance(ifft(a), self.phase1, 0.5))
        b = fft(self._advance(ifft(b), self.phase2, 0.5))
        turn = torch.as_tensor(self.crystal.dk0 * self.crystal.length)
        return a / kappa, b * (1j * _factor(turn, b)) / kappa

    def _advance(self, spectrum: Tensor, phase: Tensor | None, steps: float) -> Tensor:
        return spectrum if phase is None else spectrum * _factor(phase * (steps * self.h), spectrum)

    def _cast(self, value: float | Tensor, like: Tensor) -> float | Tensor:
        return value.to(like.real) if isinstance(value, Tensor) else value


def _step(
    a: Tensor, b: Tensor, full2: Tensor, full1: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """A linear step of both fields, and a nonlinear one."""
    a = a if full1 is None else fft(ifft(a) * full1)
    return kick(a, fft(ifft(b) * full2))


def _step_of_scan(carry: Flat, factors: Flat, x: Flat) -> tuple[Flat, Tensor]:
    return _step(*carry, *factors), x[0]


def _factor(phase: Tensor, like: Tensor) -> Tensor:
    """exp(i phase), computed in the phase's precision, in the dtype of ``like``."""
    return torch.polar(torch.ones_like(phase), phase).to(like)


def propagate(
    field: Tensor, crystal: Crystal, window: TimeWindow, *, steps: int = 20
) -> tuple[Tensor, Tensor]:
    r"""Fundamental and second harmonic at the exit of a crystal.

    .. math::
        \partial_z A_1 &= -\tfrac{i}{2} k_1'' \partial_t^2 A_1 + i G A_2 A_1^* e^{-i \Delta k z} \\
        \partial_z A_2 &= -(v_2^{-1} - v_1^{-1}) \partial_t A_2
            - \tfrac{i}{2} k_2'' \partial_t^2 A_2 + i G A_1^2 e^{+i \Delta k z}

    with carriers :math:`e^{i(kz - \omega t)}` and amplitudes scaled so that
    :math:`\int |A_1|^2 + |A_2|^2 dt` is conserved. Strang splitting: second order in the step.

    Source: Boyd, Nonlinear Optics, 4th ed., sections 2.7 and 13.

    Args:
        field: (..., N) A1 at the entrance, complex, in the units of amplitude of ``crystal``.
        crystal: what it goes through.
        window: the grid of N times.
        steps: number of steps.

    Returns:
        A1 and A2 at the exit, (..., N) each.

    Raises:
        TypeError: ``field`` is not complex.
        ValueError: ``field`` has another size than N, or ``steps`` < 1.

    Example:
        >>> crystal, window = Crystal(length=1.0, coupling=1.0), TimeWindow(1.0, points=1)
        >>> first, second = propagate(torch.ones(1, dtype=torch.complex128), crystal, window)
        >>> second.abs().square(), torch.ones(1).tanh().square()        # a plane wave: tanh²(G L)
        (tensor([0.5800], dtype=torch.float64), tensor([0.5800]))
    """
    is_complex = isinstance(field, Tensor) and field.is_complex()
    got = getattr(field, "dtype", type(field).__name__)
    remedy = "Convert it with .to(torch.complex128)."
    check(is_complex, "field", expected="complex", got=got, remedy=remedy, error=TypeError)
    fits = field.ndim >= 1 and field.shape[-1] == window.points
    check(fits, "field", expected=f"of shape (..., {window.points})", got=tuple(field.shape))
    march = SplitStep(crystal, window, steps)
    return march.leave(*march.run(march.enter(ifft(field))))
