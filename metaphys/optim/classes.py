"""The rules as ``torch.optim.Optimizer`` classes, with torch.optim's defaults."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from metaphys._typing import Hyper
from metaphys.optim._bind import stateful
from metaphys.optim.adadelta import adadelta
from metaphys.optim.adagrad import adagrad
from metaphys.optim.adam import adam, adamw
from metaphys.optim.adamax import adamax
from metaphys.optim.adan import adan
from metaphys.optim.lion import lion
from metaphys.optim.muon import muon
from metaphys.optim.nadam import nadam
from metaphys.optim.optimizer import Optimizer
from metaphys.optim.radam import radam
from metaphys.optim.rmsprop import rmsprop
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


class Adam(stateful(adam)):
    """Stateful :func:`metaphys.adam`.

    Example:
        >>> import torch, metaphys
        >>> optimizer = metaphys.Adam(torch.nn.Linear(2, 1).parameters(), lr=1e-2)
    """


class AdamW(stateful(adamw)):
    """Stateful :func:`metaphys.adamw`.

    Example:
        >>> import torch, metaphys
        >>> optimizer = metaphys.AdamW(torch.nn.Linear(2, 1).parameters(), lr=1e-2)
    """


class Adamax(stateful(adamax)):
    """Stateful :func:`metaphys.adamax`.

    Example:
        >>> import torch, metaphys
        >>> optimizer = metaphys.Adamax(torch.nn.Linear(2, 1).parameters(), lr=1e-2)
    """


class RAdam(stateful(radam)):
    """Stateful :func:`metaphys.radam`.

    Example:
        >>> import torch, metaphys
        >>> optimizer = metaphys.RAdam(torch.nn.Linear(2, 1).parameters(), lr=1e-2)
    """


class NAdam(stateful(nadam)):
    """Stateful :func:`metaphys.nadam`.

    Example:
        >>> import torch, metaphys
        >>> optimizer = metaphys.NAdam(torch.nn.Linear(2, 1).parameters(), lr=1e-2)
    """


class RMSprop(stateful(rmsprop)):
    """Stateful :func:`metaphys.rmsprop`.

    Example:
        >>> import torch, metaphys
        >>> optimizer = metaphys.RMSprop(torch.nn.Linear(2, 1).parameters(), lr=1e-2, momentum=0.9)
    """


class Adagrad(stateful(adagrad)):
    """Stateful :func:`metaphys.adagrad`.

    Example:
        >>> import torch, metaphys
        >>> optimizer = metaphys.Adagrad(torch.nn.Linear(2, 1).parameters(), lr=0.1)
    """


class Adadelta(stateful(adadelta)):
    """Stateful :func:`metaphys.adadelta`.

    Example:
        >>> import torch, metaphys
        >>> optimizer = metaphys.Adadelta(torch.nn.Linear(2, 1).parameters(), rho=0.95)
    """


class Lion(stateful(lion)):
    """Stateful :func:`metaphys.lion`.

    Example:
        >>> import torch, metaphys
        >>> optimizer = metaphys.Lion(torch.nn.Linear(2, 1).parameters(), lr=1e-3)
    """


class Adan(stateful(adan)):
    """Stateful :func:`metaphys.adan`.

    Example:
        >>> import torch, metaphys
        >>> optimizer = metaphys.Adan(torch.nn.Linear(2, 1).parameters(), lr=1e-2)
    """


class Muon(stateful(muon)):
    """Stateful :func:`metaphys.muon`; parameters that are no matrices take AdamW's step.

    Example:
        >>> import torch, metaphys
        >>> optimizer = metaphys.Muon(torch.nn.Linear(2, 1).parameters(), lr=1e-2)
    """


# TorchOpt has both spellings.
AdaMax = Adamax
AdaDelta = Adadelta
AdaGrad = Adagrad
RMSProp = RMSprop
