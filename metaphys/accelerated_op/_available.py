"""Whether native kernels are there, asked of torch's dispatcher: what it would call, it has."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

import metaphys.ops  # noqa: F401  # defines the operators
from metaphys._errors import refuse

Device = torch.device | str | int
KEYS = {"cpu": "CPU", "cuda": "CUDA"}


def accelerated_op_available(devices: Device | Iterable[Device] | None = None) -> bool:
    """Whether a compiled kernel runs on each of ``devices``; elsewhere the Python reference does.

    Args:
        devices: a device, its name or its index (a CUDA device's), or several. ``None``: the CPU,
            and CUDA where this machine has it.

    Raises:
        TypeError: if something is no device.

    Example:
        >>> import metaphys
        >>> metaphys.accelerated_op_available("cpu") == metaphys.ops.status().loaded
        True
        >>> metaphys.accelerated_op_available("meta")
        False
    """
    if devices is None:
        devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    elif isinstance(devices, str) or not isinstance(devices, Iterable):
        devices = [devices]
    kinds = [_type(device) for device in devices]  # all looked at, whatever the first one gives
    return all(map(_has_kernel, kinds))


is_available = accelerated_op_available


def _type(device: Any) -> str:
    if isinstance(device, int) and not isinstance(device, bool):
        return "cuda"
    if not isinstance(device, (torch.device, str)):
        refuse(
            "devices",
            expected="devices, their names or indices",
            got=f"{device!r} of type {type(device).__name__}",
            error=TypeError,
        )
    return torch.device(device).type


def _has_kernel(kind: str) -> bool:
    here = kind != "cuda" or torch.cuda.is_available()
    # The Python reference stands under another key, whatever the device.
    return (
        here
        and kind in KEYS
        and torch._C._dispatch_has_kernel_for_dispatch_key("metaphys::adam", KEYS[kind])
    )
