"""Simultaneous perturbation: the gradient from two measured losses a direction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn

from metaphys._errors import check
from metaphys.nn.rules._measured import Measured
from metaphys.nn.rules._rule import Loss, Params, TrainingRule
from metaphys.physics import Device


@final
class SPSA(TrainingRule):
    r"""Simultaneous perturbation stochastic approximation: no twin, two measurements a direction.

    .. math::
        \hat g_i = \frac{1}{K} \sum_{k=1}^K
            \frac{L(\theta + c \Delta_k) - L(\theta - c \Delta_k)}{2 c \, \Delta_{ki}},
        \qquad \Delta_{ki} = \pm 1 \text{ with probability } \tfrac12

    All parameters are perturbed at once. On a quadratic loss without noise the expectation is the
    gradient itself, and the variance of entry i is :math:`\sum_{j \ne i} g_j^2 / K`: it grows with
    the number of parameters. Elsewhere the bias is of order c², and readout noise adds a variance
    of order σ² / (2 c² K).

    A batch of B costs 2 · B · K calls of each device. What comes back has no graph, so it cannot
    be differentiated again: in a meta-loss it is a constant. Nor can it be mapped by ``vmap``.

    Args:
        network: a module with L physical layers.
        devices: L devices, in the order of ``network.modules()``.
        shift: c, in the parameters' own units, the same for all.
        directions: K.
        penalty: see :class:`TrainingRule`.

    Raises:
        ValueError: another number of devices than layers, ``shift`` <= 0, ``directions`` < 1,
            ``penalty`` < 0.
        TypeError: a device is no :class:`~metaphys.physics.Device`.

    Source: J. C. Spall, IEEE Trans. Autom. Control 37, 332 (1992), with averaging; his
    gains a_k and c_k are the optimizer's and the caller's.

    Example:
        >>> from metaphys.nn import OscillatorNetwork, functional
        >>> from metaphys.physics import SimulatedDevice
        >>> net = OscillatorNetwork(4, 2)
        >>> device = SimulatedDevice(net.systems[0])
        >>> value, grads = SPSA(net, [device], directions=3)(
        ...     functional(net)[1], torch.rand(5, 4), torch.zeros(5, 2),
        ...     loss=torch.nn.functional.mse_loss, seed=1)
        >>> grads["layers.0.controls.force"].shape, device.calls
        (torch.Size([6]), 30)
    """

    def __init__(
        self,
        network: nn.Module,
        devices: Sequence[Device],
        *,
        shift: float = 0.01,
        directions: int = 1,
        penalty: float = 0.0,
    ) -> None:
        super().__init__(network, penalty=penalty)
        check(shift > 0, "shift", expected="> 0", got=shift)
        check(directions >= 1, "directions", expected=">= 1", got=directions)
        self.physics = [Measured(device) for device in self._one_each("devices", devices)]
        self.shift, self.directions = shift, directions

    @torch.no_grad()
    def __call__(
        self, params: Params, inputs: Tensor, targets: Tensor, *, loss: Loss, seed: int = 0
    ) -> tuple[Tensor, Params]:
        generator = torch.Generator().manual_seed(seed)
        grads = {name: torch.zeros_like(value) for name, value in params.items()}
        values = []
        for _ in range(self.directions):
            signs = {name: _signs(value, generator) for name, value in params.items()}
            above, below = (
                self._loss(self.physics, _moved(params, signs, step), inputs, targets, loss)
                for step in (self.shift, -self.shift)
            )
            slope = (above - below) / (2 * self.shift * self.directions)
            grads = {name: grads[name] + slope * signs[name] for name in params}  # 1 / ±1 = ±1
            values += [above, below]
        return torch.stack(values).mean(), grads


def _moved(params: Params, signs: Params, step: float) -> Params:
    return {name: value + step * signs[name] for name, value in params.items()}


def _signs(like: Tensor, generator: torch.Generator) -> Tensor:
    drawn = torch.randint(2, like.shape, generator=generator)
    return (2 * drawn - 1).to(like)
