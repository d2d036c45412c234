"""The Duffing plate: exact steps of its linear part, split from the cubic force."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from metaphys.physics._scan import Flat, scan
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
            torch.addcmul(torch.addcmul(self.qf * force, self.qq, q), self.qv, v),
            torch.addcmul(torch.addcmul(self.vf * force, self.vq, q), self.vv, v),
        )

    def split(self, q: Tensor, v: Tensor, force: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """``count`` steps under one force; half kicks in between are joined."""
        v = self.kicked(q, v, 0.5)
        for _ in range(count - 1):
            q, v = self.linear(q, v, force)
            v = self.kicked(q, v, 1.0)
        q, v = self.linear(q, v, force)
        return q, self.kicked(q, v, 0.5)

    def kicked(self, q: Tensor, v: Tensor, part: float) -> Tensor:
        """The velocity after a part of a step of the cubic force."""
        return torch.addcmul(v, self.kick, q * q * q, value=-part)


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


class Ear(NamedTuple):
    """What the microphone hears: y = sum of c (q'' − b F) = q · (−c w²) − v · 2 c z w − q³ · c a.

    Attributes:
        q: −c w², (..., K).
        v: −2 c z w.
        cube: −c a.
    """

    q: Tensor
    v: Tensor
    cube: Tensor

    def hear(self, q: Tensor, v: Tensor) -> Tensor:
        """Volts (...,) of amplitudes and velocities (..., K)."""
        return torch.addcmul(torch.addcmul(self.q * q, self.v, v), self.cube, q * q * q).sum(-1)


def ear(modes: Modes) -> Ear:
    """The microphone's coefficients."""
    rate = modes.damping * modes.frequency
    c = modes.pickup
    return Ear(-c * modes.frequency.square(), -2 * c * rate, -c * modes.cubic)


Read = Callable[[Ear, Tensor, Tensor], Tensor]


def march(
    modes: Modes,
    force: Tensor,
    q: Tensor,
    v: Tensor,
    read: Read,
    dt: float,
    count: int,
    every: int | None,
) -> Tensor:
    """``read(ear, q, v)`` at the end of every sample, stacked in front.

    Args:
        modes: in float64, of leading dimensions that broadcast against those of the state.
        force: (..., n), in N.
        q: amplitudes at the beginning, (..., K).
        v: velocities.
        read: what to keep of a state.
        dt: length of a sample, in s.
        count: steps in a sample.
        every: samples in a segment (see :func:`scan`).
    """
    consts = tuple(value.to(q) for value in (*exact_step(modes, dt / count), *ear(modes)))

    def body(carry: Flat, consts: Flat, x: Flat) -> tuple[Flat, Tensor]:
        step = Step(*consts[: len(Step._fields)])
        state = step.split(carry[0], carry[1], x[0], count)
        return state, read(Ear(*consts[len(step) :]), *state)

    return scan(body, (q, v), consts, (force.movedim(-1, 0).unsqueeze(-1),), every=every)[1]
