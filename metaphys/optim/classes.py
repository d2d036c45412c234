"""``SGD``, ``Adam`` and ``AdamW`` as classes, with torch.optim's defaults."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from metaphys._typing import Hyper
from metaphys.optim.adam import adam, adamw
from metaphys.optim.optimizer import Optimizer
from metaphys.optim.sgd import sgd


class SGD(Optimizer):
    """Stateful :func:`metaphys.sgd`; note ``weight_decay`` before ``dampening``, as in TorchOpt.

    Example:
        >>> import torch, metaphys
        >>> w = torch.nn.Parameter(torch.tensor([1.0]))
        >>> optimizer = metaphys.SGD([w], lr=0.1, momentum=0.9)
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: Hyper = 1e-3,
        momentum: Hyper = 0.0,
        weight_decay: Hyper = 0.0,
        dampening: Hyper = 0.0,
        nesterov: bool = False,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params, sgd(lr, momentum, dampening, weight_decay, nesterov, maximize=maximize)
        )


class Adam(Optimizer):
    """Stateful :func:`metaphys.adam`.

    Example:
        >>> import torch, metaphys
        >>> optimizer = metaphys.Adam(torch.nn.Linear(2, 1).parameters(), lr=1e-2)
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: Hyper = 1e-3,
        betas: tuple[Hyper, Hyper] = (0.9, 0.999),
        eps: Hyper = 1e-8,
        weight_decay: Hyper = 0.0,
        *,
        eps_root: Hyper = 0.0,
        maximize: bool = False,
        use_accelerated_op: bool = True,
    ) -> None:
        super().__init__(
            params, adam(lr, betas, eps, weight_decay, eps_root=eps_root, maximize=maximize)
        )


class AdamW(Optimizer):
    """Stateful :func:`metaphys.adamw`.

    Example:
        >>> import torch, metaphys
        >>> optimizer = metaphys.AdamW(torch.nn.Linear(2, 1).parameters(), lr=1e-2)
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: Hyper = 1e-3,
        betas: tuple[Hyper, Hyper] = (0.9, 0.999),
        eps: Hyper = 1e-8,
        weight_decay: Hyper = 1e-2,
        *,
        eps_root: Hyper = 0.0,
        mask: Any = None,
        maximize: bool = False,
        use_accelerated_op: bool = True,
    ) -> None:
        super().__init__(
            params,
            adamw(lr, betas, eps, weight_decay, eps_root=eps_root, mask=mask, maximize=maximize),
        )
