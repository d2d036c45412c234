"""An array of coupled nonlinear oscillators."""

from __future__ import annotations

import math
from typing import Any, final

import torch
from torch import Tensor

from metaphys._errors import check
from metaphys.physics._ports import Ports
from metaphys.physics._system import System
from metaphys.physics.oscillators._march import March, force_matrix
from metaphys.physics.oscillators._mismatch import OscillatorMismatch


@final
class OscillatorArray(System):
    r"""N all-to-all coupled nonlinear oscillators; initial angles in, final angles out.

    ::

        drive: q(0) ──► (q1)──J12──(q2)──J23──(q3) … (qN) ──► readout: q(T)
                          ▲          ▲          ▲
        controls:         e1   J     e2   J     e3

    .. math::
        \ddot q_i = -\sin((1+\eta) q_i)
                    + \sum_j J_{ij} \bigl(\sin((1+\eta) q_j) - \sin((1+\eta) q_i)\bigr) + e_i,
        \qquad \dot q(0) = 0, \quad J = (C + C^\top) / 2.

    Time is in units of the inverse natural frequency of an uncoupled oscillator, angles are in
    radians, couplings and forces in units of that frequency squared. Integrated by ``steps`` steps
    of the classical fourth-order Runge-Kutta method; from some 256 on the gradient keeps about
    √steps states instead of every step's graph, for one more forward pass.

    Controls: ``coupling`` C (..., N, N), of which only the symmetric part acts and whose diagonal
    has no effect; ``force`` e (..., N).

    Source: Wright, Onodera et al., Nature 601, 549 (2022), arXiv:2104.13386, and the authors'
    example notebooks 1 and 2 (5 steps of 0.1). Where we differ: their code writes the row sum
    *over* the diagonal, so that C_ii also stiffens oscillator i; their equation, and we, do not.

    Args:
        size: N, the number of oscillators.
        steps: number of integration steps.
        dt: length of a step, in inverse natural frequencies.
        mismatch: departure of this unit, or of each unit of a fleet, from the nominal array
            (eta = 0, no offset). Tensors that require grad are differentiated like controls.

    Raises:
        ValueError: ``size`` or ``steps`` < 1, ``dt`` <= 0, or a mismatch of another size.

    Example:
        >>> array = OscillatorArray(2, steps=50, dt=0.1)
        >>> controls = {"coupling": torch.zeros(2, 2), "force": torch.zeros(2)}
        >>> small = torch.tensor([1e-3, 0.0])            # a small angle swings as cos(t)
        >>> round(float(array(small, controls)[0] / 1e-3), 4), round(math.cos(5.0), 4)
        (0.2837, 0.2837)
    """

    def __init__(
        self,
        size: int,
        *,
        steps: int = 5,
        dt: float = 0.1,
        mismatch: OscillatorMismatch | None = None,
    ) -> None:
        check(size >= 1, "size", expected=">= 1", got=size)
        check(steps >= 1, "steps", expected=">= 1", got=steps)
        check(dt > 0, "dt", expected="> 0", got=dt, remedy="Time runs forward.")
        self.size, self.steps, self.dt = size, steps, dt
        self.mismatch = mismatch if mismatch is not None else OscillatorMismatch()
        self.units = self.mismatch.units(size)
        self.ports = Ports(size, {"coupling": (size, size), "force": (size,)}, size)

    def __repr__(self) -> str:
        units = f", units={self.units}" if self.units else ""
        return f"OscillatorArray({self.size}, steps={self.steps}, dt={self.dt}{units})"

    def with_mismatch(self, mismatch: OscillatorMismatch | None) -> OscillatorArray:
        """The same array with another mismatch (``None``: the nominal array)."""
        return OscillatorArray(self.size, steps=self.steps, dt=self.dt, mismatch=mismatch)

    def init_controls(
        self,
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> dict[str, Tensor]:
        """``coupling`` and ``force``, uniform in ±1/sqrt(N), as in the authors' notebooks."""
        dtype = torch.get_default_dtype() if dtype is None else dtype
        bound = 1 / math.sqrt(self.size)

        def uniform(*shape: int) -> Tensor:
            # Drawn on the CPU in float64: the same start whatever the dtype and the device.
            unit = torch.rand(shape, generator=generator, dtype=torch.float64)
            return (bound * (2 * unit - 1)).to(dtype=dtype, device=device)

        return {"coupling": uniform(self.size, self.size), "force": uniform(self.size)}

    def trajectory(self, drive: Tensor, controls: Any) -> tuple[Tensor, Tensor]:
        """Angles (rad) and velocities (rad per inverse natural frequency) after every step.

        Returns:
            Two tensors of shape (steps + 1, *drive.shape); the first row is the start.
        """
        settings = self.ports.check(drive, controls, self.units)
        march = March(self.mismatch, self.dt, drive, controls, settings)
        q, u = march.start, torch.zeros_like(march.start)
        rows = [(q, u)]
        for _ in range(self.steps):
            q, u = march.step(q, u)
            rows.append((q, u))
        angles = torch.stack([march.readout(q) for q, _ in rows])
        return angles, torch.stack([march.readout(u) for _, u in rows]) / self.dt

    def energy(self, angles: Tensor, velocities: Tensor, controls: Any) -> Tensor:
        r"""The conserved energy of the nominal array, :math:`(\ldots)` from :math:`(\ldots, N)`.

        With the stiffness matrix :math:`A = 1 + \mathrm{diag}(\sum_j J_{ij}) - J` the equation of
        motion is :math:`\ddot q = -A \sin q + e`. Its forces have no potential in q, but with
        :math:`A^{-1}` as the matrix of masses they have one:

        .. math::
            E = \tfrac12 \dot q^\top A^{-1} \dot q + \sum_i (1 - \cos q_i) - q^\top A^{-1} e.

        Raises:
            ValueError: the array has a mismatch, or the controls have leading dimensions.
        """
        nominal = all(value is None for value in vars(self.mismatch).values())
        check(nominal, "system", expected="nominal", got=self, remedy="Use with_mismatch(None).")
        leading = self.ports.has_leading(controls)
        check(not leading, "controls", expected="one setting", got="leading dimensions")
        stiffness = -force_matrix(controls["coupling"], 1.0)
        momenta = torch.linalg.solve(stiffness, velocities.unsqueeze(-1)).squeeze(-1)
        kinetic = (velocities * momenta).sum(-1) / 2
        work = (angles * torch.linalg.solve(stiffness, controls["force"])).sum(-1)
        return kinetic + (1 - angles.cos()).sum(-1) - work

    def _respond(self, drive: Tensor, controls: Any, settings: tuple[int, ...]) -> Tensor:
        march = March(self.mismatch, self.dt, drive, controls, settings)
        if self.steps == 1:
            return march.readout(march.last(march.start, None))
        q, u = march.steps(*march.first(march.start), self.steps - 2)
        return march.readout(march.last(q, u))
