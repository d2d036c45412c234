"""The rules bound to :class:`MetaOptimizer`: differentiable steps on a module."""

from __future__ import annotations

from torch import nn

from metaphys._typing import Hyper, Tree
from metaphys.meta._bound import differentiable
from metaphys.meta._step import GradCallback
from metaphys.meta.optimizer import MetaOptimizer
from metaphys.optim.adadelta import adadelta
from metaphys.optim.adagrad import adagrad
from metaphys.optim.adam import adam, adamw
from metaphys.optim.adamax import adamax
from metaphys.optim.adan import adan
from metaphys.optim.lion import lion
from metaphys.optim.muon import muon
from metaphys.optim.nadam import nadam
from metaphys.optim.radam import radam
from metaphys.optim.rmsprop import rmsprop
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
        *,
        first_order: bool = False,
        grad_callback: GradCallback | None = None,
        truncate: int | None = None,
        record: bool = False,
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
        super().__init__(
            module,
            rule,
            first_order=first_order,
            grad_callback=grad_callback,
            truncate=truncate,
            record=record,
        )


class MetaAdam(differentiable(adam)):
    """Differentiable :func:`metaphys.adam` on a module.

    Example:
        >>> import torch, metaphys
        >>> net = torch.nn.Linear(2, 1)
        >>> optimizer = metaphys.MetaAdam(net, lr=0.1)
        >>> optimizer.step(net(torch.ones(3, 2)).pow(2).mean())
    """


class MetaAdamW(differentiable(adamw, moment_requires_grad=False)):
    """Differentiable :func:`metaphys.adamw` on a module.

    Example:
        >>> import torch, metaphys
        >>> net = torch.nn.Linear(2, 1)
        >>> optimizer = metaphys.MetaAdamW(net, lr=0.1, weight_decay=0.1)
        >>> optimizer.step(net(torch.ones(3, 2)).pow(2).mean())
    """


class MetaAdamax(differentiable(adamax)):
    """Differentiable :func:`metaphys.adamax` on a module.

    Example:
        >>> import torch, metaphys
        >>> net = torch.nn.Linear(2, 1)
        >>> optimizer = metaphys.MetaAdamax(net, lr=0.1)
        >>> optimizer.step(net(torch.ones(3, 2)).pow(2).mean())
    """


class MetaRAdam(differentiable(radam)):
    """Differentiable :func:`metaphys.radam` on a module.

    Example:
        >>> import torch, metaphys
        >>> net = torch.nn.Linear(2, 1)
        >>> optimizer = metaphys.MetaRAdam(net, lr=0.1)
        >>> optimizer.step(net(torch.ones(3, 2)).pow(2).mean())
    """


class MetaNAdam(differentiable(nadam)):
    """Differentiable :func:`metaphys.nadam` on a module.

    Example:
        >>> import torch, metaphys
        >>> net = torch.nn.Linear(2, 1)
        >>> optimizer = metaphys.MetaNAdam(net, lr=0.1)
        >>> optimizer.step(net(torch.ones(3, 2)).pow(2).mean())
    """


class MetaRMSprop(differentiable(rmsprop)):
    """Differentiable :func:`metaphys.rmsprop` on a module.

    Example:
        >>> import torch, metaphys
        >>> net = torch.nn.Linear(2, 1)
        >>> optimizer = metaphys.MetaRMSprop(net, lr=1e-2, momentum=0.9)
        >>> optimizer.step(net(torch.ones(3, 2)).pow(2).mean())
    """


class MetaAdagrad(differentiable(adagrad)):
    """Differentiable :func:`metaphys.adagrad` on a module.

    Example:
        >>> import torch, metaphys
        >>> net = torch.nn.Linear(2, 1)
        >>> optimizer = metaphys.MetaAdagrad(net, lr=0.1)
        >>> optimizer.step(net(torch.ones(3, 2)).pow(2).mean())
    """


class MetaAdadelta(differentiable(adadelta)):
    """Differentiable :func:`metaphys.adadelta` on a module.

    Example:
        >>> import torch, metaphys
        >>> net = torch.nn.Linear(2, 1)
        >>> optimizer = metaphys.MetaAdadelta(net, rho=0.95)
        >>> optimizer.step(net(torch.ones(3, 2)).pow(2).mean())
    """


class MetaLion(differentiable(lion)):
    """Differentiable :func:`metaphys.lion` on a module.

    Example:
        >>> import torch, metaphys
        >>> net = torch.nn.Linear(2, 1)
        >>> optimizer = metaphys.MetaLion(net, lr=1e-3)
        >>> optimizer.step(net(torch.ones(3, 2)).pow(2).mean())
    """


class MetaAdan(differentiable(adan)):
    """Differentiable :func:`metaphys.adan` on a module.

    Example:
        >>> import torch, metaphys
        >>> net = torch.nn.Linear(2, 1)
        >>> optimizer = metaphys.MetaAdan(net, lr=0.1)
        >>> optimizer.step(net(torch.ones(3, 2)).pow(2).mean())
    """


class MetaMuon(differentiable(muon)):
    """Differentiable :func:`metaphys.muon` on a module.

    Example:
        >>> import torch, metaphys
        >>> net = torch.nn.Linear(2, 1)
        >>> optimizer = metaphys.MetaMuon(net, lr=0.1)
        >>> optimizer.step(net(torch.ones(3, 2)).pow(2).mean())
    """


# TorchOpt has both spellings.
MetaAdaMax = MetaAdamax
MetaAdaDelta = MetaAdadelta
MetaAdaGrad = MetaAdagrad
MetaRMSProp = MetaRMSprop
