"""Devices: physics that is measured and never differentiated."""

from __future__ import annotations

import abc
import math
import time
from typing import Any, final

import numpy as np
import optree
import torch
from torch import Tensor

from metaphys._errors import check, check_kind, refuse
from metaphys.physics._ports import Ports
from metaphys.physics._system import System
from metaphys.physics._tape import through_tapes


class Device(abc.ABC):
    """One physical unit, or a fleet of them: ``measure(drive, controls) -> readout``.

    A readout carries no graph and nothing differentiates a device. Every call is counted: one call
    is one sample through one physical layer of one unit, so a drive of shape (U, B, N) counts
    U · B (times the repeats of a :class:`WithAveraging`). A device may be used inside
    ``torch.func.vmap``: that is one batched measurement.

    A fleet of U units has ``units == (U,)``, and U is the leading dimension of its drive (inside
    ``vmap``: the outermost mapped dimension).

    An instrument is a final subclass that states its :attr:`ports` and takes a batch in
    :meth:`_read`; noise and gains are wrapped around it (:class:`WithNoise`, :class:`WithGain`).

    Attributes:
        ports: sizes of drive, controls and readout.
        units: ``()`` for one unit, ``(U,)`` for a fleet.

    Example:
        >>> class Square(Device):
        ...     ports = Ports(drive=2, controls={}, readout=2)
        ...     def _read(self, drive, controls):
        ...         return drive.numpy() ** 2               # what an instrument's driver returns
        >>> device = Square()
        >>> device.measure(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), {}), device.calls
        (tensor([[ 1.,  4.],
                [ 9., 16.]]), 2)
    """

    ports: Ports
    units: tuple[int, ...] = ()
    _calls: int = 0
    _seconds: float = 0.0
    _cost: int = 1  # calls for one sample: more than one where measurements are repeated

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    @abc.abstractmethod
    def _read(self, drive: Tensor, controls: Any) -> Tensor | np.ndarray:
        """Measure a checked batch; tensors without a graph come in, tensors or arrays go out."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Device:
        """A physical unit has no copy: a copied network runs on the same one."""
        return self

    @property
    @final
    def calls(self) -> int:
        """Device calls so far."""
        return self._calls

    @property
    @final
    def seconds(self) -> float:
        """The time that measuring has taken so far, by the clock on the wall, in s."""
        return self._seconds

    @final
    def reset_calls(self) -> None:
        """Count calls and seconds from zero again."""
        self._calls, self._seconds = 0, 0.0

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to measure the same again: counters, random streams."""
        return {"calls": self._calls, "seconds": self._seconds}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        self._calls, self._seconds = int(state["calls"]), float(state.get("seconds", 0.0))

    @final
    def measure(self, drive: Tensor | np.ndarray, controls: Any) -> Tensor:
        """Measure; the readout is detached and may hold anything a measurement can, NaN included.

        Args:
            drive: (*settings, *samples, ``ports.drive``), tensor or array; a fleet's units lead.
            controls: a tree like ``ports.controls`` of tensors or arrays, of the drive's dtype.

        Returns:
            (*settings, *samples, ``ports.readout``), of the drive's dtype, on its device.

        Raises:
            TypeError, ValueError: as :meth:`Ports.check`.
            RuntimeError: the device answered in another shape or with no real numbers, or a
                replayed tape does not fit.
        """
        drive = _tensor(drive)
        leaves, spec = optree.tree_flatten(controls)
        leaves = [_tensor(leaf) for leaf in leaves]
        # The Function only carries the batching rule; with nothing to differentiate it is left out
        # of autograd, and derivatives of no order can reach it.
        return _Measure.apply(self, spec, drive, *leaves)  # type: ignore[no-any-return]

    def _take(self, drive: Tensor, controls: Any) -> Tensor:
        """One real measurement of plain tensors: checked, counted, in the drive's dtype."""
        self.ports.check(drive, controls, self.units)
        start = time.perf_counter()
        with torch.no_grad():
            readout = _numbers(self._read(drive, controls))
            readout = readout.to(dtype=drive.dtype, device=drive.device)
        expected = (*drive.shape[:-1], self.ports.readout)
        check(
            tuple(readout.shape) == expected,
            "readout",
            expected=f"of shape {tuple(expected)}",
            got=tuple(readout.shape),
            remedy=f"{type(self).__name__}._read has to answer every sample of its drive.",
            error=RuntimeError,
        )
        self._calls += self._cost * math.prod(drive.shape[:-1])
        self._seconds += time.perf_counter() - start
        return readout


def _tensor(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return torch.as_tensor(value)
    return value.detach() if isinstance(value, Tensor) else value


def _numbers(answer: Any) -> Tensor:
    """What a driver returned, which may be anything, as a tensor of real numbers."""
    try:
        readout = torch.as_tensor(answer).detach()
        got = str(readout.dtype)
    except (TypeError, ValueError, RuntimeError):
        readout, got = None, type(answer).__name__
    if readout is None or readout.is_complex():
        remedy = "Return a tensor or an array; of complex numbers what is measured of them."
        expected = "of real numbers"
        refuse("readout", expected=expected, got=got, remedy=remedy, error=RuntimeError)
    return readout


class _Measure(torch.autograd.Function):
    """An opaque measurement: no derivative, and one batched measurement under ``vmap``."""

    @staticmethod
    def forward(device: Device, spec: Any, drive: Tensor, *leaves: Tensor) -> Tensor:
        def take() -> Tensor:
            return device._take(drive, optree.tree_unflatten(spec, leaves))

        return through_tapes(device, drive, take)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return (None,) * len(ctx.needs_input_grad)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        return None

    @staticmethod
    def vmap(  # pyright: ignore[reportIncompatibleMethodOverride]
        info: Any, in_dims: Any, device: Device, spec: Any, drive: Tensor, *leaves: Tensor
    ) -> tuple[Any, int]:
        drive_dim, leaf_dims = in_dims[2], in_dims[3:]
        drive = _to_front(drive, drive_dim, info.batch_size)
        controls = optree.tree_unflatten(spec, leaves)
        shared = all(dim is None for dim in leaf_dims) and not device.ports.has_leading(controls)
        if not shared:
            # One setting a mapped index. Controls that all share are left alone instead: an
            # instrument is then set once, not once a sample.
            pairs = zip(leaves, leaf_dims, strict=True)
            leaves = tuple(_to_front(leaf, dim, info.batch_size) for leaf, dim in pairs)
        return _Measure.apply(device, spec, drive, *leaves), 0


def _to_front(x: Tensor, dim: int | None, size: int) -> Tensor:
    return x.expand(size, *x.shape) if dim is None else x.movedim(dim, 0)


@final
class SimulatedDevice(Device):
    """A device that is a system: the nominal one, one of a finer model, or a mismatched unit.

    Args:
        system: what answers; if its parameters have leading dimensions the device is a fleet.

    Example:
        >>> from metaphys.physics import OscillatorArray, OscillatorMismatch
        >>> fleet = OscillatorArray(3, mismatch=OscillatorMismatch(gain=torch.full((5, 1), 0.1)))
        >>> device = SimulatedDevice(fleet)
        >>> controls = fleet.init_controls()                       # shared by the five units
        >>> device.measure(torch.zeros(5, 2, 3), controls).shape, device.units, device.calls
        (torch.Size([5, 2, 3]), (5,), 10)
    """

    def __init__(self, system: System) -> None:
        check_kind(
            system,
            System,
            "system",
            expected="a System",
            remedy="Derive from Device to measure something else.",
        )
        self.system = system
        self.ports, self.units = system.ports, system.units

    def __repr__(self) -> str:
        return f"SimulatedDevice({self.system})"

    def _read(self, drive: Tensor, controls: Any) -> Tensor:
        return self.system(drive, controls)


def check_device(device: Any) -> None:
    check_kind(
        device,
        Device,
        "device",
        expected="a Device",
        remedy="Wrap a system as SimulatedDevice(system).",
    )
