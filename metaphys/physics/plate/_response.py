"""The linear plate: its impulse response."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from metaphys.physics.plate._modes import Modes


def impulse_response(modes: Modes, dt: float, samples: int) -> Tensor:
    r"""What the microphone hears of a force of 1 N held for the first sample, in V; (..., samples).

    The acceleration after a step of the force is

    .. math:: \ddot q / b = E(t) = e^{-z \omega t}
              \bigl(\cos \omega_d t - \tfrac{z \omega}{\omega_d} \sin \omega_d t\bigr),
              \qquad \omega_d = \omega \sqrt{1 - z^2},

    and the response to a sample, at its end and at those of all later ones, is the difference of
    two steps: exact, for a force that is constant within a sample. The constant b F that is
    subtracted from the truncated sum cancels in it.
    """
    rate = (modes.damping * modes.frequency).unsqueeze(-1)
    natural = (modes.frequency * (1 - modes.damping.square()).sqrt()).unsqueeze(-1)
    t = dt * torch.arange(samples + 1, dtype=rate.dtype, device=rate.device)
    steps = (-rate * t).exp() * ((natural * t).cos() - rate / natural * (natural * t).sin())
    weights = modes.pickup * modes.drive
    return torch.einsum("...k,...kt->...t", weights, steps.diff(dim=-1))


def transfer(modes: Modes, frequency: Tensor) -> Tensor:
    """Volts per newton of a steady tone of ``frequency`` (n,) in Hz, complex, (..., n)."""
    w = (2 * math.pi * frequency.to(modes.frequency)).unsqueeze(-1)
    stiffness = modes.frequency.square().unsqueeze(-2)
    loss = 2j * (modes.damping * modes.frequency).unsqueeze(-2) * w
    weight = (modes.pickup * modes.drive).unsqueeze(-2)
    return -(weight * (stiffness + loss) / (stiffness - w.square() + loss)).sum(-1)
