"""The rules bound to :class:`MetaOptimizer`: differentiable steps on a module."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, overload

from torch import nn

from metaphys._typing import Hyper, Tree
from metaphys.meta._step import GradCallback
from metaphys.meta.optimizer import MetaOptimizer
from metaphys.optim._bind import constructor
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
from metaphys.optim.rule import Rule
from metaphys.optim.sgd import sgd

P = ParamSpec("P")


OPTIONS = tuple(
    parameter
    for parameter in inspect.signature(MetaOptimizer).parameters.values()
    if parameter.kind is inspect.Parameter.KEYWORD_ONLY
)
"""What every form takes besides its rule's arguments, such as ``first_order``."""


class Bound(MetaOptimizer, Generic[P]):
    """What type checkers see of a class that :func:`differentiable` makes."""

    @overload
    def __init__(self, module: nn.Module, *arguments: P.args, **hyper: P.kwargs) -> None: ...
    @overload
    def __init__(
        self,
        module: nn.Module,
        *arguments: Any,
        first_order: bool = ...,
        grad_callback: GradCallback | None = ...,
        truncate: int | None = ...,
        record: bool = ...,
        **hyper: Any,
    ) -> None: ...
    def __init__(self, *arguments: Any, **hyper: Any) -> None:
        raise NotImplementedError


def differentiable(rule: Callable[P, Rule], *, moment_requires_grad: bool = True) -> type[Bound[P]]:
    """The base class of a rule's meta form: module, the rule's arguments, then the options.

    Args:
        rule: the rule's function.
        moment_requires_grad: its default in this form.
    """
    defaults = {"moment_requires_grad": moment_requires_grad}
    signature = constructor(rule, "module", defaults=defaults)
    signature = signature.replace(parameters=[*signature.parameters.values(), *OPTIONS])

    class Differentiable(Bound[P]):
        def __init__(self, *arguments: Any, **hyper: Any) -> None:
            given = defaults | signature.bind(self, *arguments, **hyper).arguments
            _, module = given.pop("self"), given.pop("module")
            options = {each.name: given.pop(each.name, each.default) for each in OPTIONS}
            MetaOptimizer.__init__(self, module, rule(**given), **options)  # type: ignore[call-arg]

    Differentiable.__init__.__signature__ = signature  # type: ignore[attr-defined]
    return Differentiable


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
