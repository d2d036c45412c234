"""A layer that is a physical system, and how it moves from one unit to another."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, final

from torch import Tensor, nn

from metaphys._errors import check, check_kind
from metaphys.physics import Encoded


@final
class PhysicalLayer(nn.Module):
    """``f(drive, controls)`` with the controls as parameters.

    The layer owns the controls, not the physics: :func:`run_on` moves it to another unit and
    leaves the parameters what and where they are.

    Args:
        f: a system, a :class:`~metaphys.physics.PhysicsAware` device, or any function of
            (drive, controls).
        controls: a tensor for each name; for a system, ``system.init_controls()``.
        limits: the range r of controls that hardware cannot set at will, by name: the parameter
            stays unbounded and the control is r · tanh(parameter / r), within ±r.

    Raises:
        TypeError: ``f`` cannot be called, or a control is no tensor.
        ValueError: there are no controls, or a limit is not positive or of no control.

    Example:
        >>> import torch
        >>> from metaphys.physics import OscillatorArray
        >>> array = OscillatorArray(3)
        >>> layer = PhysicalLayer(array, array.init_controls())
        >>> layer(torch.zeros(2, 3)).shape, [name for name, _ in layer.named_parameters()]
        (torch.Size([2, 3]), ['controls.coupling', 'controls.force'])
    """

    def __init__(
        self,
        f: Callable[[Tensor, Any], Tensor],
        controls: Mapping[str, Tensor],
        *,
        limits: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        check(
            isinstance(controls, Mapping) and len(controls) > 0,
            "controls",
            expected="tensors by name",
            got=controls,
            remedy="A system's init_controls() makes them.",
        )
        for name, value in controls.items():
            check_kind(value, Tensor, f"controls.{name}", expected="a tensor")
        self.limits = dict(limits or {})
        for name, limit in self.limits.items():
            known = ", ".join(controls)
            check(name in controls, "limits", expected=f"for controls among {known}", got=name)
            fits = 0 < limit < math.inf
            check(fits, f"limits[{name!r}]", expected="> 0 and finite", got=limit)
        self.controls = nn.ParameterDict({k: nn.Parameter(v) for k, v in controls.items()})
        # In a tuple, so that nn.Module does not adopt a twin that is a module itself.
        self._f = (_checked(f),)

    @property
    def f(self) -> Callable[[Tensor, Any], Tensor]:
        """What the layer runs on, set by :func:`run_on`; its parameters are not the layer's."""
        return self._f[0]

    def forward(self, drive: Tensor) -> Tensor:
        """The readout for ``drive``; shapes as ``f`` has them."""
        return self.f(drive, self._set())

    def excess(self, drive: Tensor) -> Tensor:
        """(...) by how much the finished drive leaves its limits before it is clamped.

        That of :meth:`~metaphys.physics.Encoded.excess`; zero for physics without an encoding.
        """
        if isinstance(self.f, Encoded):
            return self.f.excess(drive, self._set())
        return drive.new_zeros(drive.shape[:-1])

    def _set(self) -> dict[str, Tensor]:
        return {name: self._within(name, p) for name, p in self.controls.items()}

    def _within(self, name: str, parameter: Tensor) -> Tensor:
        limit = self.limits.get(name)
        return parameter if limit is None else limit * (parameter / limit).tanh()

    def extra_repr(self) -> str:
        return f"f={self.f}"


def physical_layers(module: nn.Module, name: str) -> list[PhysicalLayer]:
    """The physical layers of a module, in their order, at least one; ``name`` is the argument's."""
    layers = [m for m in module.modules() if isinstance(m, PhysicalLayer)]
    expected = "a module with physical layers"
    check(len(layers) > 0, name, expected=expected, got=type(module).__name__)
    return layers


def _checked(f: Any) -> Any:
    check(
        callable(f),
        "f",
        expected="callable as f(drive, controls)",
        got=type(f).__name__,
        remedy="Give a device its twin: PhysicsAware(device, twin).",
        error=TypeError,
    )
    return f


@final
class run_on:  # noqa: N801 (read as a verb, like torch.no_grad)
    """Let the physical layers of ``module`` run on other physics; the parameters stay.

    An encoding in front of a layer's physics stays too, unless the new physics has one of its own
    or is a plain function: what is given is the bare unit.

    It acts at once and for good; used as a context it puts the former physics back at the end.

    Args:
        module: a module that holds :class:`PhysicalLayer` modules.
        fs: one system or :class:`~metaphys.physics.PhysicsAware` for each layer, in the order of
            ``module.modules()``; a single one stands for all.

    Raises:
        TypeError: an ``f`` cannot be called (a bare device has no derivative).
        ValueError: another number of them than layers, or other sizes than the layer's.

    Example:
        >>> import torch
        >>> from metaphys.physics import OscillatorArray, PhysicsAware, SimulatedDevice
        >>> array = OscillatorArray(3)
        >>> layer = PhysicalLayer(array, array.init_controls())
        >>> device = SimulatedDevice(array)
        >>> with run_on(layer, PhysicsAware(device, twin=array)):
        ...     readout = layer(torch.zeros(2, 3))
        >>> device.calls, layer.f is array
        (2, True)
    """

    def __init__(self, module: nn.Module, *fs: Callable[[Tensor, Any], Tensor]) -> None:
        layers = physical_layers(module, "module")
        chosen = list(fs) * len(layers) if len(fs) == 1 else list(fs)
        expected = f"one, or one for each of {len(layers)} layers"
        check(len(chosen) == len(layers), "fs", expected=expected, got=len(fs))
        chosen = [_behind_encoding(layer, _checked(f)) for layer, f in zip(layers, chosen)]
        for layer, f in zip(layers, chosen, strict=True):
            _check_ports(layer, f)
        self._former = [(layer, layer.f) for layer in layers]
        for layer, f in zip(layers, chosen, strict=True):
            layer._f = (f,)

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for layer, f in self._former:
            layer._f = (f,)


def _behind_encoding(layer: PhysicalLayer, f: Any) -> Any:
    if isinstance(f, Encoded) or not hasattr(f, "ports"):
        return f
    return layer.f.on(f) if isinstance(layer.f, Encoded) else f


def _check_ports(layer: PhysicalLayer, f: Any) -> None:
    former, ports = getattr(layer.f, "ports", None), getattr(f, "ports", None)
    if former is None or ports is None:
        return
    check(ports == former, "fs", expected=f"a system with {former}", got=ports)
