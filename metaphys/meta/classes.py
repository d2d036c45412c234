"""``MetaSGD``, ``MetaAdam`` and ``MetaAdamW``: a rule bound to :class:`MetaOptimizer`."""

from __future__ import annotations

from typing import Any

from torch import nn

from metaphys._typing import Hyper, Tree
from metaphys.meta.optimizer import MetaOptimizer
from metaphys.optim.adam import adam, adamw
from metaphys.optim.sgd import sgd


class MetaSGD(MetaOptimizer):
    """Differentiable :func:`metaphys.sgd` on a module; arguments in TorchOpt's order.

    Example:
        >>> import torch, metaphys
        >>> net = torch.nn.Linear(2, 1)
        >>> optimizer = metaphys.MetaSGD(net, lr=0.1)
        >>> optimizer.step(net(torch.ones(3, 2)).pow(2).mean())
        >>> net.weight.grad_fn is not None
        True
    """

    def __init__(
        self,
        module: nn.Module,
        lr: Hyper | Tree,
        momentum: Hyper = 0.0,
        weight_decay: Hyper = 0.0,
        dampening: Hyper = 0.0,
        nesterov: bool = False,
        moment_requires_grad: bool = True,
        maximize: bool = False,
    ) -> None:
        rule = sgd(
            lr,
            momentum,
            dampening,
            weight_decay,
            nesterov,
            moment_requires_grad=moment_requires_grad,
            maximize=maximize,
        )
        super().__init__(module, rule)


class MetaAdam(MetaOptimizer):
    """Differentiable :func:`metaphys.adam` on a module.

    Example:
        >>> import torch, metaphys
        >>> net = torch.nn.Linear(2, 1)
        >>> optimizer = metaphys.MetaAdam(net, lr=0.1)
        >>> optimizer.step(net(torch.ones(3, 2)).pow(2).mean())
    """

    def __init__(
        self,
        module: nn.Module,
        lr: Hyper | Tree = 1e-3,
        betas: tuple[Hyper, Hyper] = (0.9, 0.999),
        eps: Hyper = 1e-8,
        weight_decay: Hyper = 0.0,
        *,
        eps_root: Hyper = 0.0,
        moment_requires_grad: bool = True,
        maximize: bool = False,
        use_accelerated_op: bool = True,
    ) -> None:
        rule = adam(
            lr,
            betas,
            eps,
            weight_decay,
            eps_root=eps_root,
            moment_requires_grad=moment_requires_grad,
            maximize=maximize,
        )
        super().__init__(module, rule)


class MetaAdamW(MetaOptimizer):
    """Differentiable :func:`metaphys.adamw` on a module.

    Example:
        >>> import torch, metaphys
        >>> net = torch.nn.Linear(2, 1)
        >>> optimizer = metaphys.MetaAdamW(net, lr=0.1, weight_decay=0.1)
        >>> optimizer.step(net(torch.ones(3, 2)).pow(2).mean())
    """

    def __init__(
        self,
        module: nn.Module,
        lr: Hyper | Tree = 1e-3,
        betas: tuple[Hyper, Hyper] = (0.9, 0.999),
        eps: Hyper = 1e-8,
        weight_decay: Hyper = 1e-2,
        *,
        eps_root: Hyper = 0.0,
        mask: Any = None,
        moment_requires_grad: bool = False,
        maximize: bool = False,
        use_accelerated_op: bool = True,
    ) -> None:
        rule = adamw(
            lr,
            betas,
            eps,
            weight_decay,
            eps_root=eps_root,
            mask=mask,
            moment_requires_grad=moment_requires_grad,
            maximize=maximize,
        )
        super().__init__(module, rule)
