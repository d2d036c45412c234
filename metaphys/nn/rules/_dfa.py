"""Direct feedback alignment: the outputs' error reaches every layer by fixed random numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from metaphys._errors import check
from metaphys.nn.rules._measured import Measured
from metaphys.nn.rules._rule import Loss, Params, TrainingRule
from metaphys.physics import Device
from metaphys.physics._ports import Ports


@final
class DFA(TrainingRule):
    r"""Direct feedback alignment: no twin and no backward pass through the physics.

    .. math::
        \delta a_l = (B_l\, e) \odot g(a_l), \qquad
        \nabla_{\theta_l} = \Bigl(\frac{\partial a_l}{\partial \theta_l}\Bigr)^{\!\top} \delta a_l,
        \qquad e = \frac{\partial L}{\partial \text{outputs}}

    Here a_l is the drive of layer l, which plays the part of a neuron's input: how it comes from
    data and parameters (:class:`~metaphys.physics.Encoded`, scales, clamps) is the computer's
    business and differentiated exactly, with all measured readouts as constants. B_l is fixed and
    random, N(0, 1 / outputs). Parameters behind the last readout get their exact gradient.

    With physics that acts element by element, y = f(a), and ``slope`` = f' this is Nøkland's rule;
    physics mixes its inputs and f' is not known without a model, so by default g = 1.

    The step descends only as far as what follows a layer comes to align with B_l: behind the last
    physical layer there must be trained numbers, such as a linear layer, or nothing can align.
    Controls inside the physics (those of coupled oscillators) do not enter a drive: they cannot be
    trained so, and are refused.

    A batch of B costs B calls of each device. What comes back has no graph: in a meta-loss it is a
    constant.

    Args:
        network: a module with L physical layers.
        devices: L devices, in the order of ``network.modules()``.
        slope: g, from a drive (B, n) to numbers (B, n); ``None`` for 1.
        seed: of the feedback B_l.
        penalty: see :class:`TrainingRule`; its gradient is exact, with readouts as constants.

    Raises:
        ValueError: another number of devices than layers, ``penalty`` < 0, or (when called) a
            parameter that no drive depends on.
        TypeError: a device is no :class:`~metaphys.physics.Device`.

    Source: A. Nøkland, NeurIPS 2016, arXiv:1609.01596, Eq. (7); on hardware with another g:
    Nakajima et al., Nat. Commun. 13, 7847 (2022). Where we differ: g = 1.

    Example:
        >>> from metaphys.nn import WaveformNetwork, functional
        >>> from metaphys.physics import Plate, SimulatedDevice
        >>> plate = Plate(samples=16, guard=10)
        >>> net = nn.Sequential(WaveformNetwork(plate, 2, layers=2), nn.Linear(2, 2))
        >>> devices = [SimulatedDevice(plate), SimulatedDevice(plate)]
        >>> value, grads = DFA(net, devices)(
        ...     functional(net)[1], torch.rand(5, 16), torch.tensor([0, 1, 0, 1, 1]),
        ...     loss=torch.nn.functional.cross_entropy)
        >>> grads["0.layers.0.controls.scale"].shape, devices[1].calls
        (torch.Size([1, 16]), 5)
    """

    def __init__(
        self,
        network: nn.Module,
        devices: Sequence[Device],
        *,
        slope: Callable[[Tensor], Tensor] | None = None,
        seed: int = 0,
        penalty: float = 0.0,
    ) -> None:
        super().__init__(network, penalty=penalty)
        self._devices = [Measured(device) for device in self._one_each("devices", devices)]
        self.slope, self.seed = slope, seed

    def feedback(self, layer: int, outputs: int, like: Tensor) -> Tensor:
        """B_l transposed, (outputs, n), of the dtype of ``like`` (..., n)."""
        # By layer, so that a network that gets one more keeps the feedback of the others.
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + layer)
        drawn = torch.randn(outputs, like.shape[-1], generator=generator, dtype=torch.float64)
        return (drawn / math.sqrt(outputs)).to(like)

    @torch.enable_grad()
    def __call__(
        self, params: Params, inputs: Tensor, targets: Tensor, *, loss: Loss, seed: int = 0
    ) -> tuple[Tensor, Params]:
        leaves = {name: value.detach().requires_grad_() for name, value in params.items()}
        taps = [_Tap(device) for device in self._devices]
        outputs, cost = self._apply(taps, leaves, inputs)
        # A leaf of its own, so that there is an error where nothing behind the readout is trained.
        seen = outputs.detach().requires_grad_()
        value = loss(seen, targets)
        (error,) = torch.autograd.grad(value, seen)
        total = (outputs * error).sum() + cost
        for index, tap in enumerate(taps):
            total = total + (tap.drive * self._delta(index, error, tap.drive.detach())).sum()
        found = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
        grads = dict(zip(leaves, found))
        _check_reached(grads)
        return (value + cost).detach(), grads

    def _delta(self, index: int, error: Tensor, drive: Tensor) -> Tensor:
        delta = error @ self.feedback(index, error.shape[-1], drive)
        return delta if self.slope is None else delta * self.slope(drive)


def _check_reached(grads: dict[str, Any]) -> None:
    lost = [name for name, grad in grads.items() if grad is None]
    check(
        not lost,
        "params",
        expected="parameters that drives or outputs depend on",
        got=f"{', '.join(lost)}, inside the physics",
        remedy="Random feedback needs a twin to reach them: train with PAT or SPSA.",
    )


class _Tap:
    """A device that keeps its drive, with the graph to what the drive was made of."""

    def __init__(self, physics: Measured) -> None:
        self._physics = physics
        self.drive = torch.empty(0)

    @property
    def ports(self) -> Ports:
        return self._physics.ports

    @property
    def units(self) -> tuple[int, ...]:
        return self._physics.units

    def __call__(self, drive: Tensor, controls: Any) -> Tensor:
        self.drive = drive
        return self._physics(drive, controls)
