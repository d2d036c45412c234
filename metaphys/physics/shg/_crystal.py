"""The nonlinear crystal."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from metaphys._errors import check
from metaphys.physics.shg._window import TimeWindow


@dataclass(frozen=True)
class Crystal:
    """A crystal for second-harmonic generation.

    Every value is a number, or a tensor (..., 1) with a value for each unit.

    Attributes:
        length: L, mm.
        coupling: G, 1/mm, for the peak amplitude of the unshaped pulse as the unit of amplitude:
            without dispersion that peak converts to tanh²(G L).
        gvm: group-velocity mismatch 1/v2 − 1/v1, fs/mm.
        dk0: phase mismatch 2 k1 − k2 at the carriers, rad/mm; set by the angle of the crystal.
        gvd1: k1'', group-velocity dispersion of the fundamental, fs²/mm. Where it is the number
            0 the fundamental needs no transforms, which makes the split step twice as fast.
        gvd2: k2'', that of the second harmonic, fs²/mm.

    Raises:
        ValueError: ``length`` or ``coupling`` is a number that is not positive.
    """

    length: float
    coupling: float | Tensor
    gvm: float = 0.0
    dk0: float | Tensor = 0.0
    gvd1: float = 0.0
    gvd2: float = 0.0

    def __post_init__(self) -> None:
        check(self.length > 0, "length", expected="> 0 mm", got=self.length)
        positive = isinstance(self.coupling, Tensor) or self.coupling > 0
        check(positive, "coupling", expected="> 0 per mm", got=self.coupling)

    @classmethod
    def bbo(cls, length: float = 0.5, coupling: float = 1.0) -> Crystal:
        """β-barium borate, 800 nm to 400 nm, type I (cut at 29.2°).

        From the dispersion formulas of Kato, IEEE J. Quantum Electron. 22, 1013 (1986).

        Args:
            length: mm.
            coupling: 1/mm; by default G L = 0.5, where the peak of the unshaped pulse
                converts to 21 %.

        Example:
            >>> Crystal.bbo().gvm                                   # fs/mm
            194.0
        """
        return cls(length, coupling, gvm=194.0, gvd1=75.0, gvd2=196.0)

    def phase1(self, window: TimeWindow) -> Tensor:
        """(N,) phase that the fundamental's spectrum gains, in its own frame, rad/mm."""
        return self.gvd1 / 2 * window.angular().square()

    def phase2(self, window: TimeWindow) -> Tensor:
        r"""(..., N) phase that the spectrum of :math:`A_2 e^{-i \Delta k_0 z}` gains, rad/mm.

        It is :math:`-\Delta k(\Omega)`: what the second harmonic lags behind its source.
        """
        omega = window.angular()
        return self.gvm * omega + self.gvd2 / 2 * omega.square() - self.dk0
