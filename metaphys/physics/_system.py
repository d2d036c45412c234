"""The interface of every physical system: drive and controls in, readout out."""

from __future__ import annotations

import abc
from typing import Any, final

import torch
from torch import Tensor

from metaphys.physics._ports import Ports


class System(abc.ABC):
    """A differentiable model of physics: ``system(drive, controls) -> readout``.

    A system is pure (the same arguments give the same readout, nothing is stored), differentiable
    to any order in ``drive`` and ``controls``, works in float32 and float64 and under every
    ``torch.func`` transform, and is batched as :class:`~metaphys.physics.Ports` says.

    A new system is one file: a final subclass that states its :attr:`ports`, makes controls to
    start from, and computes :meth:`_respond`. Shapes, dtypes and devices are checked here, once.

    Attributes:
        ports: sizes of drive, controls and readout.
        units: leading dimensions of the system's own parameters, ``(U,)`` for U units at once.

    Example:
        >>> class Spring(System):
        ...     '''Two springs: lengths in, forces out, one stiffness for both.'''
        ...     ports = Ports(drive=2, controls={"stiffness": ()}, readout=2)
        ...     def init_controls(self, *, generator=None, dtype=None, device=None):
        ...         return {"stiffness": torch.ones((), dtype=dtype, device=device)}
        ...     def _respond(self, drive, controls, settings):
        ...         k = controls["stiffness"]
        ...         k = k.reshape(*k.shape, *[1] * (drive.ndim - k.ndim))       # aligned left
        ...         return -k * (drive + drive**3)
        >>> Spring()(torch.ones(3, 5, 2), {"stiffness": torch.arange(3.0)})[:, 0]
        tensor([[-0., -0.],
                [-2., -2.],
                [-4., -4.]])
    """

    ports: Ports
    units: tuple[int, ...] = ()

    @abc.abstractmethod
    def init_controls(
        self,
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Any:
        """Random controls to start training from, shaped as ``ports.controls`` says."""

    @abc.abstractmethod
    def _respond(self, drive: Tensor, controls: Any, settings: tuple[int, ...]) -> Tensor:
        """The physics. ``settings`` are the leading dimensions of ``drive`` that are no samples."""

    @final
    def __call__(self, drive: Tensor, controls: Any) -> Tensor:
        """Return the readout for ``drive`` under ``controls``.

        Args:
            drive: (*settings, *samples, ``ports.drive``).
            controls: a tree like ``ports.controls``; leading dimensions are those of ``drive``.

        Returns:
            (*settings, *samples, ``ports.readout``), of the drive's dtype, on its device.

        Raises:
            TypeError, ValueError: as :meth:`Ports.check`.
        """
        return self._respond(drive, controls, self.ports.check(drive, controls, self.units))
