"""Physics-aware training: the device's readout, the twin's derivatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor
from torch.autograd import forward_ad

from metaphys._errors import check
from metaphys.physics._device import Device, check_device
from metaphys.physics._ports import Ports


@final
class PhysicsAware:
    r"""A device that can be trained through: measured forward, differentiated through its twin.

    .. math::
        y = f_\text{twin}(x, \theta) + \operatorname{stopgrad}\bigl(
            f_\text{device}(x, \theta) - f_\text{twin}(x, \theta)\bigr)

    The value is the device's readout to the last bit; the derivatives of every order are the
    twin's, at the inputs of the measurement. It is differentiable by autograd and under every
    composition of ``torch.func`` transforms; ``vmap`` makes one batched measurement. The twin's own
    tensors (those it closes over) get their gradients too. Where no derivative is wanted the twin
    is not run. A non-finite twin makes the result non-finite rather than its gradient silently so.

    A call measures once. A function that is run again to recompute what was not stored would
    measure again: run it in :func:`~metaphys.physics.record` and
    :func:`~metaphys.physics.replay`.

    Source: Wright, Onodera et al., Nature 601, 549 (2022), Methods, "Physics-aware training". The
    authors' ``make_pat_func`` gives detached gradients; these can be differentiated again.

    Args:
        device: what is measured.
        twin: ``twin(drive, controls) -> readout``, differentiable: a system or any function.

    Raises:
        TypeError: ``device`` is no :class:`Device`, or ``twin`` cannot be called.

    Example:
        >>> from metaphys.physics import OscillatorArray, OscillatorMismatch, SimulatedDevice
        >>> twin = OscillatorArray(2)
        >>> unit = twin.with_mismatch(OscillatorMismatch(gain=torch.tensor([0.1])))
        >>> pat = PhysicsAware(SimulatedDevice(unit), twin)
        >>> controls = twin.init_controls()
        >>> drive = torch.tensor([0.5, -0.5], requires_grad=True)
        >>> readout = pat(drive, controls)
        >>> bool(readout.equal(unit(drive, controls)))
        True
        >>> (grad,) = torch.autograd.grad(readout.sum(), drive)
        >>> (expected,) = torch.autograd.grad(twin(drive, controls).sum(), drive)
        >>> bool(grad.equal(expected))
        True
    """

    def __init__(self, device: Device, twin: Callable[[Tensor, Any], Tensor]) -> None:
        check_device(device)
        check(
            callable(twin),
            "twin",
            expected="callable as twin(drive, controls)",
            got=type(twin).__name__,
            error=TypeError,
        )
        self.device, self.twin = device, twin

    def __repr__(self) -> str:
        return f"PhysicsAware({self.device}, twin={self.twin})"

    @property
    def ports(self) -> Ports:
        """The device's ports."""
        return self.device.ports

    @property
    def units(self) -> tuple[int, ...]:
        """The device's units."""
        return self.device.units

    def __call__(self, drive: Tensor, controls: Any) -> Tensor:
        """Measure ``drive`` under ``controls``; shapes as :meth:`Device.measure`."""
        readout = self.device.measure(drive, controls)
        if not _derivative_wanted():
            return readout
        model = self.twin(drive, controls)
        check(
            model.shape == readout.shape,
            "twin",
            expected=f"a model whose readout has the device's shape {tuple(readout.shape)}",
            got=tuple(model.shape),
        )
        # Plain arithmetic: right under every transform and to every order, where an
        # autograd.Function with a jvp is silently wrong under jvp of jvp. The bracket is +0, and
        # x - (+0) is x to the last bit for every x (x + 0 would lose the sign of -0).
        return readout - (model.detach() - model)


def _derivative_wanted() -> bool:
    """Grad mode (which ``torch.func.grad`` and ``vjp`` switch on), or a forward-mode level."""
    return torch.is_grad_enabled() or forward_ad._current_level >= 0
