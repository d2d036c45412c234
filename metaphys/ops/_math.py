"""What the reference implementations share."""

from __future__ import annotations

import torch

from metaphys._typing import Scalar


def bias_corrections(beta: Scalar, count: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """``1 - beta**t`` for each leaf, in float64.

    ``pow(float, int tensor)`` would be float32, which is 2e-5 wrong in a "float64" Adam.

    Args:
        beta: decay rate in [0, 1), a number or a 0-d tensor.
        count: steps taken by each leaf, the present one included; int64 (n,).
    """
    base = as_double(beta, count.device)
    return (1.0 - torch.pow(base, beside(base, count).to(torch.float64))).unbind(0)


def beside(value: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
    """``count`` where it can meet a 0-d ``value``, which may be learned on another device."""
    return count if value.is_cpu else count.to(value.device, non_blocking=count.is_cpu)


def as_double(value: Scalar, device: torch.device) -> torch.Tensor:
    """A hyper-parameter as a float64 tensor: a number on ``device``, a tensor where it is.

    Torch's default device would be wrong for a number: the counts that it meets stay on the CPU.
    """
    if isinstance(value, torch.Tensor):
        return value.to(torch.float64)
    return torch.full((), value, dtype=torch.float64, device=device)


def masked_sqrt(x: torch.Tensor) -> torch.Tensor:
    """√x for x ≥ 0, whose derivatives at exactly 0 are taken as 0 instead of infinite.

    A gradient entry that is exactly zero makes the second moment zero; with the plain root its
    meta-gradient would be 0 · ∞ = NaN. The inner ``where`` keeps ∞ out of the backward pass.
    """
    zero = x <= 0  # a NaN is not, and stays one
    return torch.where(zero, 0.0, torch.sqrt(torch.where(zero, 1.0, x)))


def masked_reciprocal(x: torch.Tensor) -> torch.Tensor:
    """1/x for x > 0, and 0 with derivative 0 at exactly 0: see :func:`masked_sqrt`."""
    zero = x <= 0
    return torch.where(zero, 0.0, 1.0 / torch.where(zero, 1.0, x))


def cast(value: Scalar, dtype: torch.dtype) -> Scalar:
    """A hyper-parameter that is a tensor in ``dtype``; a number as it is.

    Two 0-d tensors promote each other: a float64 rate would make a float32 scalar float64.
    """
    return value.to(dtype) if isinstance(value, torch.Tensor) else value


def state_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype of the moments of a parameter of ``dtype``: float32 for half precision."""
    return torch.float32 if dtype in (torch.bfloat16, torch.float16) else dtype
