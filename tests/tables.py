"""The tables that tests are products of, and the one place where tolerances come from."""

from __future__ import annotations

from collections.abc import Callable

import torch

import metaphys
from metaphys.optim import Rule

RULES: dict[str, Callable[[], Rule]] = {
    "sgd": lambda: metaphys.sgd(lr=0.1),
    "sgd-momentum": lambda: metaphys.sgd(lr=0.1, momentum=0.9),
    "sgd-dampened": lambda: metaphys.sgd(lr=0.1, momentum=0.9, dampening=0.3),
    "sgd-nesterov": lambda: metaphys.sgd(lr=0.1, momentum=0.9, nesterov=True),
    "sgd-decay": lambda: metaphys.sgd(lr=0.1, momentum=0.5, weight_decay=0.1),
    "sgd-maximize": lambda: metaphys.sgd(lr=0.1, momentum=0.9, maximize=True),
    "adam": lambda: metaphys.adam(lr=0.1),
    "adam-eps": lambda: metaphys.adam(lr=0.1, eps=1e-2, eps_root=1e-3),
    "adam-decay": lambda: metaphys.adam(lr=0.1, betas=(0.8, 0.95), weight_decay=0.1),
    "adam-maximize": lambda: metaphys.adam(lr=0.1, maximize=True),
    "adamw": lambda: metaphys.adamw(lr=0.1, weight_decay=0.1),
    "adamw-maximize": lambda: metaphys.adamw(lr=0.1, betas=(0.8, 0.95), maximize=True),
}

TORCH: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "sgd-momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "sgd-dampened": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.3),
    "sgd-nesterov": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "sgd-decay": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.5, weight_decay=0.1),
    "sgd-maximize": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, maximize=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.1),
    "adam-decay": lambda p: torch.optim.Adam(p, lr=0.1, betas=(0.8, 0.95), weight_decay=0.1),
    "adam-maximize": lambda p: torch.optim.Adam(p, lr=0.1, maximize=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.1),
    "adamw-maximize": lambda p: torch.optim.AdamW(p, lr=0.1, betas=(0.8, 0.95), maximize=True),
}


def tolerance(dtype: torch.dtype) -> dict[str, float]:
    """What two right computations of the same thing may differ by."""
    return {
        torch.float64: {"rtol": 1e-10, "atol": 1e-12},
        torch.float32: {"rtol": 1e-5, "atol": 1e-6},
        torch.bfloat16: {"rtol": 2e-2, "atol": 1e-2},
        torch.float16: {"rtol": 2e-3, "atol": 1e-3},
    }[dtype]
