"""An array to first order: what answers change by, and the metric that follows from it."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.func import functional_call

from metaphys.nn import run_on
from metaphys.physics import OscillatorMismatch
from metaphys.training._draws import Params
from metaphys.training.recalibration import Setting

COUPLING, FORCE = "layers.0.controls.coupling", "layers.0.controls.force"
CLASSES = 10
NOISE = 0.1
"""Variance of an answer (in logits) that the first order leaves out."""
TRUST_REGION = 3e-4
"""What a square of a control's change costs, in squares of a typical answer's error."""
RIDGE = 0.03
"""Added to the Gram matrix of the controls' derivatives before it is inverted."""
BATCH = 100


def flat(params: Params) -> Tensor:
    """(..., P) of the symmetric part of the couplings, each pair once, and the forces."""
    coupling, size = params[COUPLING], params[FORCE].shape[-1]
    above, below = torch.triu_indices(size, size, 1)
    pairs = (coupling[..., above, below] + coupling[..., below, above]) / math.sqrt(2)
    return torch.cat([pairs, params[FORCE]], -1)


def shaped(vector: Tensor, size: int) -> Params:
    """The inverse of :func:`flat` for symmetric couplings, and its transpose: lengths are kept."""
    above, below = torch.triu_indices(size, size, 1)
    pairs, force = vector.split([above.shape[0], size], -1)
    upper = vector.new_zeros(*vector.shape[:-1], size, size)
    upper[..., above, below] = pairs / math.sqrt(2)
    return {COUPLING: upper + upper.mT, FORCE: force}


def derivatives(
    setting: Setting, start: Params, inputs: Tensor, gain: Tensor
) -> tuple[Tensor, Tensor]:
    """(n, classes, P) of the answers by the controls, and by offsets that a unit may have."""
    found = [_derivatives(setting, start, part, gain) for part in inputs.split(BATCH)]
    return torch.cat([by for by, _ in found]), torch.cat([by for _, by in found])


def _derivatives(
    setting: Setting, start: Params, inputs: Tensor, gain: Tensor
) -> tuple[Tensor, Tensor]:
    (nominal,), count, size = setting.nominal, len(inputs), len(start[FORCE])
    # As many units as images: the sum over them has every image's own derivative.
    params = {n: v.detach().expand(count, *v.shape).clone() for n, v in start.items()}
    offset = torch.zeros(count, size, size)
    leaves = [leaf.requires_grad_() for leaf in (offset, *params.values())]
    mismatch = OscillatorMismatch(coupling=offset, gain=gain.detach().expand(count, 1))
    with run_on(setting.network, nominal.with_mismatch(mismatch)):  # type: ignore[attr-defined]
        answers = functional_call(setting.network, params, (inputs.unsqueeze(1),)).squeeze(1)
    by_controls, by_offsets = [], []
    for of_class in answers.sum(0):
        by_offset, *by_params = torch.autograd.grad(of_class, leaves, retain_graph=True)
        by_controls.append(flat(dict(zip(params, by_params))))
        by_offsets.append(flat({COUPLING: by_offset, FORCE: torch.zeros(count, size)}))
    return torch.stack(by_controls, 1), torch.stack(by_offsets, 1)


def metric(setting: Setting, start: Params, images: Tensor, inputs: Tensor, gain: Tensor) -> Tensor:
    r"""The matrix (P, P) that makes of a first gradient the change of controls it speaks for.

    To first order answers to the images are off by :math:`r = K \delta + \varepsilon`, for offsets
    δ of the population and :math:`\varepsilon \sim N(0, \nu^2)`, and the gradient of their squares
    is :math:`G = J^\top r`. On any input the change Δ should make up for what δ does there,

    .. math::
        \Delta(\delta) = -\arg\min E_x | J_x \Delta' - K_x \delta |^2 + \lambda |\Delta'|^2
                       = -(Q + \lambda)^{-1} R \, \delta .

    The best linear guess of it from r is known before any unit is seen, and r is as good as G:

    .. math::
        M = (Q + \lambda)^{-1} R \, \Sigma K^\top (K \Sigma K^\top + \nu^2)^{-1}
            (J J^\top + \rho)^{-1} J, \qquad \Delta = -M G .

    Args:
        setting: the network; its spread is that of δ.
        start: controls that units begin with.
        images: (n, pixels), those that are measured.
        inputs: (m, pixels), what the answers should be right on.
        gain: (1,) that all units share.
    """
    by_controls, by_offsets = (
        part.flatten(0, 1).double() for part in derivatives(setting, start, images, gain)
    )
    # What all answers have in common decides nothing.
    every = derivatives(setting, start, inputs, gain)
    controls, offsets = ((p - p.mean(1, keepdim=True)).flatten(0, 1) for p in every)
    variance = setting.config.spread**2
    measured = _ridged(variance * by_offsets @ by_offsets.mT, NOISE)
    guess = variance * torch.linalg.solve(measured, by_offsets).mT
    undone = controls.mT @ (offsets @ guess.to(offsets)) / len(inputs)
    cost = _ridged((controls.mT @ controls).double() / len(inputs), TRUST_REGION)
    change = torch.linalg.solve(cost, undone.double())
    gram = _ridged(by_controls @ by_controls.mT, RIDGE)
    return (change @ torch.linalg.solve(gram, by_controls)).to(images)


def _ridged(matrix: Tensor, ridge: float) -> Tensor:
    return matrix + ridge * torch.eye(len(matrix), dtype=matrix.dtype)
