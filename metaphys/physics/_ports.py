"""What goes into a physical system, what comes out, and the one batch convention."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import optree
import torch
from torch import Tensor

from metaphys._errors import refuse

_DTYPES = (torch.float32, torch.float64)


def is_shape(node: Any) -> bool:
    return isinstance(node, tuple) and all(isinstance(size, int) for size in node)


@dataclass(frozen=True)
class Ports:
    """The sizes of a system's or a device's inputs and output.

    Batches are aligned on the left. A control of own rank r and shape ``(*L, *own)`` has the
    leading dimensions ``L``; they must be the first dimensions of ``drive``. The dimensions of
    ``drive`` between those and its last one are samples that share the controls::

        drive (U, B, N)   controls (U, N, N), (U, N)    U settings of the controls, B samples each
        drive (U, N)      controls (U, N, N), (U, N)    U settings, one sample each
        drive (B, N)      controls (N, N), (N,)         one setting, B samples

    The controls of one call may have different leading dimensions, as long as each is a prefix of
    ``drive``'s.

    Attributes:
        drive: number of values that drive the system (the last dimension of ``drive``).
        controls: shapes, one tuple a control, without leading dimensions, in dicts, lists and
            tuples as the controls themselves.
        readout: number of values that are read out (the last dimension of the readout).

    Example:
        >>> ports = Ports(drive=3, controls={"coupling": (3, 3), "force": (3,)}, readout=3)
        >>> controls = {"coupling": torch.zeros(5, 3, 3), "force": torch.zeros(3)}
        >>> ports.check(torch.zeros(5, 2, 3), controls)
        (5,)
    """

    drive: int
    controls: Any
    readout: int

    def check(self, drive: Tensor, controls: Any, units: tuple[int, ...] = ()) -> tuple[int, ...]:
        """Refuse whatever does not fit, naming it.

        Args:
            drive: (..., ``self.drive``), float32 or float64.
            controls: a tree of tensors as :attr:`controls` says, of the drive's dtype and device.
            units: leading dimensions that belong to the units of a fleet.

        Returns:
            The leading dimensions of ``drive`` that tell one setting (or unit) from another; what
            lies between them and the last dimension are samples of one setting.

        Raises:
            TypeError: ``drive`` or a control is no tensor, or of an unfit dtype.
            ValueError: a shape, a device, or the names of the controls do not fit.
        """
        _check_drive(drive, self.drive)
        settings = units
        _check_prefix("drive", drive, units, what="one row for each unit of the fleet")
        for name, shape, control in _pairs("controls", self.controls, controls):
            _check_like(name, control, drive)
            lead = _lead(name, control, shape)
            _check_prefix(name, drive, lead, what="controls' leading dimensions in front")
            settings = lead if len(lead) > len(settings) else settings
        return settings

    def has_leading(self, controls: Any) -> bool:
        """Whether any control carries dimensions in front of its own (no checks are made)."""
        pairs = _pairs("controls", self.controls, controls)
        return any(getattr(control, "ndim", 0) > len(shape) for _, shape, control in pairs)


def _pairs(name: str, shapes: Any, controls: Any) -> list[tuple[str, tuple[int, ...], Any]]:
    """(name, shape, control) of every control.

    Walked by hand: it names what is missing, and torch.compile cannot trace optree here.
    """
    if is_shape(shapes):
        return [(name, shapes, controls)]
    keys = list(shapes) if isinstance(shapes, Mapping) else list(range(len(shapes)))
    if isinstance(shapes, Mapping):
        fits = isinstance(controls, Mapping) and set(controls) == set(keys)
    else:
        fits = isinstance(controls, type(shapes)) and len(controls) == len(keys)
    if not fits:
        refuse(
            name,
            expected=f"a tree of tensors like {shapes}",
            got=_outline(controls),
            remedy="system.init_controls() makes one that fits.",
        )
    found = [_pairs(f"{name}.{key}", shapes[key], controls[key]) for key in keys]
    return [pair for pairs in found for pair in pairs]


def _outline(tree: Any) -> Any:
    """A tree with its tensors replaced by their shapes: short enough for an error message."""
    return optree.tree_map(lambda leaf: tuple(getattr(leaf, "shape", ())), tree)


# What follows runs on every call: messages are made only where they are needed.


def _check_drive(drive: Any, size: int) -> None:
    if not isinstance(drive, Tensor):
        refuse(
            "drive",
            expected="a tensor",
            got=type(drive).__name__,
            remedy="Convert it with torch.as_tensor.",
            error=TypeError,
        )
    if drive.dtype not in _DTYPES:
        refuse(
            "drive",
            expected="float32 or float64",
            got=drive.dtype,
            remedy="Convert it with .float() or .double().",
            error=TypeError,
        )
    if drive.ndim < 1 or drive.shape[-1] != size:
        refuse(
            "drive",
            expected=f"of shape (..., {size})",
            got=tuple(drive.shape),
            remedy="The last dimension is what enters the system at once.",
        )


def _check_like(name: str, control: Any, drive: Tensor) -> None:
    if not isinstance(control, Tensor):
        refuse(name, expected="a tensor", got=type(control).__name__, error=TypeError)
    if control.dtype != drive.dtype:
        refuse(
            name,
            expected=f"of the drive's dtype, {drive.dtype}",
            got=control.dtype,
            remedy=f"Convert one of them, e.g. .to({drive.dtype}).",
            error=TypeError,
        )
    if control.device != drive.device:
        refuse(
            name,
            expected=f"on the drive's device, {drive.device}",
            got=control.device,
            remedy="Move one of them with .to(device).",
        )


def _lead(name: str, control: Tensor, shape: tuple[int, ...]) -> tuple[int, ...]:
    split = control.ndim - len(shape)
    if split < 0 or tuple(control.shape[split:]) != shape:
        dims = ", ".join(map(str, shape))
        refuse(name, expected=f"of shape (..., {dims})", got=tuple(control.shape))
    return tuple(control.shape[:split])


def _check_prefix(name: str, drive: Tensor, lead: tuple[int, ...], *, what: str) -> None:
    count = len(lead)
    if count == 0 or (drive.ndim > count and tuple(drive.shape[:count]) == lead):
        return
    dims = ", ".join(map(str, lead))
    owner = "" if name == "drive" else f", as `{name}` has them"
    refuse(
        "drive",
        expected=f"of shape ({dims}, ..., {drive.shape[-1]}): {what}{owner}",
        got=tuple(drive.shape),
        remedy=f"Expand it, e.g. drive.expand({dims}, *drive.shape).",
    )


def align(x: Tensor, own: int, count: int) -> Tensor:
    """Singleton dimensions after the leading ones of x, so that it has ``count`` of them."""
    lead = x.ndim - own
    if lead == count:
        return x
    return x.reshape(*x.shape[:lead], *[1] * (count - lead), *x.shape[lead:])
