"""The Duffing plate: exact steps of its linear part, split from the cubic force."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from metaphys.physics.plate._modes import Modes


class Step(NamedTuple):
    r"""One step of q'' + 2 z w q' + w² q + a q³ = b F with F held, all (..., K).

    Strang's splitting, of second order: half a kick v −= a q³ dt/2, the linear plate under the
    force exactly (for any dt: there is no limit of stability), half a kick again. The exact step is
    the matrix exponential of [[0, 1, 0], [−w², −2 z w, b], [0, 0, 0]] dt:

    .. math:: \binom q v \to e^{-z \omega dt} \begin{pmatrix} C + S z \omega & S \\
              -S \omega^2 & C - S z \omega \end{pmatrix} \binom q v + \binom{(1 - A_{11}) /
              \omega^2}{A_{12}} b F

    with C = cos(w_d dt) and S = sin(w_d dt) / w_d.

    Source: Strang, "On the construction and comparison of difference schemes", SIAM J. Numer.
    Anal. 5, 506 (1968).
    """

    qq: Tensor
    qv: Tensor
    vq: Tensor
    vv: Tensor
    qf: Tensor
    vf: Tensor
    kick: Tensor

    def linear(self, q: Tensor, v: Tensor, force: Tensor) -> tuple[Tensor, Tensor]:
        """The linear part alone; ``force`` (..., 1) in N."""
        return (
            self.qq * q + self.qv * v + self.qf * force,
            self.vq * q + self.vv * v + self.vf * force,
        )

    def split(self, q: Tensor, v: Tensor, force: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """``count`` steps under one force; half kicks in between are joined."""
        v = v - self.kick / 2 * q**3
        for _ in range(count - 1):
            q, v = self.linear(q, v, force)
            v = v - self.kick * q**3
        q, v = self.linear(q, v, force)
        return q, v - self.kick / 2 * q**3


def exact_step(modes: Modes, dt: float) -> Step:
    """The coefficients of a step of ``dt`` seconds."""
    w, rate = modes.frequency, modes.damping * modes.frequency
    natural = w * (1 - modes.damping.square()).sqrt()
    decay = (-rate * dt).exp()
    cosine, sine = decay * (natural * dt).cos(), decay * (natural * dt).sin() / natural
    qq = cosine + sine * rate
    return Step(
        qq=qq,
        qv=sine,
        vq=-sine * w.square(),
        vv=cosine - sine * rate,
        qf=(1 - qq) / w.square() * modes.drive,
        vf=sine * modes.drive,
        kick=modes.cubic * dt,
    )


def heard(modes: Modes, q: Tensor, v: Tensor) -> Tensor:
    """The microphone's volts, sum of c (q'' − b F) over the modes: (...,) from (..., K)."""
    force = modes.frequency.square() * q + 2 * modes.damping * modes.frequency * v
    return -(modes.pickup * (force + modes.cubic * q**3)).sum(-1)
