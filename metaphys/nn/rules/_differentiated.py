"""The two rules that differentiate a twin: physics-aware training and training in silico."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from metaphys.nn.rules._rule import Loss, Params, TrainingRule
from metaphys.physics import Device, PhysicsAware

Twin = Callable[[Tensor, Any], Tensor]


class _Differentiated(TrainingRule):
    """The gradient of the loss through physics that can be differentiated."""

    physics: list[Any]

    def __call__(
        self, params: Params, inputs: Tensor, targets: Tensor, *, loss: Loss, seed: int = 0
    ) -> tuple[Tensor, Params]:
        grads, value = torch.func.grad_and_value(
            lambda own: self._loss(self.physics, own, inputs, targets, loss)
        )(params)
        return value, grads


@final
class PAT(_Differentiated):
    r"""Physics-aware training: measured forward, the twins' derivatives at what was measured.

    The gradient is that of the surrogate in :class:`~metaphys.physics.PhysicsAware`, layer by
    layer. It can be differentiated again, to any order, and mapped by ``torch.func``. A batch of B
    costs B calls of each layer's device.

    Args:
        network: a module with L physical layers.
        devices: L devices, in the order of ``network.modules()``.
        twins: L models ``twin(drive, controls) -> readout``, differentiable.
        penalty: see :class:`TrainingRule`.

    Raises:
        ValueError: another number of devices or twins than layers, no layers, ``penalty`` < 0.
        TypeError: a device is no :class:`~metaphys.physics.Device`, a twin cannot be called.

    Source: Wright, Onodera et al., Nature 601, 549 (2022).

    Example:
        >>> from metaphys.nn import OscillatorNetwork, functional
        >>> from metaphys.physics import OscillatorSpread
        >>> net = OscillatorNetwork(4, 2)
        >>> devices = [p.unit(3) for p in net.populations(OscillatorSpread(coupling=0.1))]
        >>> x, y = torch.rand(5, 4), torch.tensor([0, 1, 0, 1, 1])
        >>> value, grads = PAT(net, devices, net.systems)(
        ...     functional(net)[1], x, y, loss=torch.nn.functional.cross_entropy)
        >>> sorted(grads), devices[0].calls
        (['layers.0.controls.coupling', 'layers.0.controls.force', 'logit_scale'], 5)
    """

    def __init__(
        self,
        network: nn.Module,
        devices: Sequence[Device],
        twins: Sequence[Twin],
        *,
        penalty: float = 0.0,
    ) -> None:
        super().__init__(network, penalty=penalty)
        pairs = zip(self._one_each("devices", devices), self._one_each("twins", twins))
        self.physics = [PhysicsAware(device, twin) for device, twin in pairs]


@final
class InSilico(_Differentiated):
    """Training on models alone: no device is called.

    With nominal systems it is the usual baseline; with the system of a simulated unit it is the
    exact gradient, which no experiment has. It can be differentiated again, to any order.

    Args:
        network: a module with L physical layers.
        twins: L models ``twin(drive, controls) -> readout``, differentiable.
        penalty: see :class:`TrainingRule`.

    Raises:
        ValueError: another number of twins than layers, no layers, or ``penalty`` < 0.

    Example:
        >>> from metaphys.nn import OscillatorNetwork, functional
        >>> net = OscillatorNetwork(4, 2)
        >>> rule = InSilico(net, net.systems)
        >>> value, grads = rule(functional(net)[1], torch.rand(5, 4), torch.zeros(5, 2),
        ...                     loss=torch.nn.functional.mse_loss)
        >>> grads["layers.0.controls.force"].shape
        torch.Size([6])
    """

    def __init__(self, network: nn.Module, twins: Sequence[Twin], *, penalty: float = 0.0) -> None:
        super().__init__(network, penalty=penalty)
        self.physics = self._one_each("twins", twins)
