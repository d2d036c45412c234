"""The directions of rules without their step: each is the rule itself at lr = -1."""

from __future__ import annotations

from metaphys._typing import Hyper, Scalar
from metaphys.optim.adadelta import adadelta
from metaphys.optim.adagrad import adagrad
from metaphys.optim.adam import adam
from metaphys.optim.adamax import adamax
from metaphys.optim.radam import radam
from metaphys.optim.rmsprop import rmsprop
from metaphys.optim.rule import Rule
from metaphys.optim.sgd import sgd
from metaphys.transform._bound import direction


def trace(
    momentum: Hyper = 0.9,
    dampening: Hyper = 0.0,
    nesterov: bool = False,
    moment_requires_grad: bool = False,
) -> Rule:
    """The momentum of :func:`metaphys.sgd`: its direction, without step size and weight decay.

    Args:
        momentum: see :func:`metaphys.sgd`.
        dampening: see :func:`metaphys.sgd`.
        nesterov: see :func:`metaphys.sgd`.
        moment_requires_grad: see :func:`metaphys.sgd`.

    Example:
        >>> import torch, metaphys
        >>> rule = metaphys.transform.trace(momentum=0.5)
        >>> state = rule.init([torch.zeros(1)])
        >>> _, state = rule.update([torch.ones(1)], state)
        >>> rule.update([torch.ones(1)], state)[0]
        [tensor([1.5000])]
    """
    own = {"nesterov": nesterov, "moment_requires_grad": moment_requires_grad}
    return direction(sgd(1.0, momentum, dampening, **own), "momentum", "dampening")


def scale_by_adam(
    b1: Hyper = 0.9,
    b2: Hyper = 0.999,
    eps: Hyper = 1e-8,
    eps_root: Hyper = 0.0,
    moment_requires_grad: bool = False,
) -> Rule:
    """The direction of :func:`metaphys.adam`; the kernel is chosen as there.

    Args:
        b1: the decay rate β₁ of the first moment.
        b2: β₂ of the second one.
        eps: see :func:`metaphys.adam`.
        eps_root: see :func:`metaphys.adam`.
        moment_requires_grad: see :func:`metaphys.adam`.

    Example:
        >>> import torch, metaphys
        >>> rule = metaphys.transform.scale_by_adam()
        >>> rule.update([torch.tensor([-4.0])], rule.init([torch.zeros(1)]))[0]
        [tensor([-1.])]
    """
    rule = adam(1.0, (b1, b2), eps, eps_root=eps_root, moment_requires_grad=moment_requires_grad)
    return direction(rule, "betas", "eps", "eps_root")


def scale_by_accelerated_adam(
    b1: Hyper = 0.9,
    b2: Hyper = 0.999,
    eps: Hyper = 1e-8,
    eps_root: Hyper = 0.0,
    moment_requires_grad: bool = False,
) -> Rule:
    """:func:`scale_by_adam` under TorchOpt's other name: the kernel is used where there is one.

    Args:
        b1: see :func:`scale_by_adam`.
        b2: see :func:`scale_by_adam`.
        eps: see :func:`scale_by_adam`.
        eps_root: see :func:`scale_by_adam`.
        moment_requires_grad: see :func:`scale_by_adam`.

    Example:
        >>> from metaphys import transform
        >>> transform.scale_by_accelerated_adam(0.8) == transform.scale_by_adam(0.8)
        True
    """
    return scale_by_adam(b1, b2, eps, eps_root, moment_requires_grad)


def scale_by_adamax(
    b1: Hyper = 0.9, b2: Hyper = 0.999, eps: Hyper = 1e-8, moment_requires_grad: bool = False
) -> Rule:
    """The direction of :func:`metaphys.adamax`.

    Args:
        b1: β₁, see :func:`metaphys.adamax`.
        b2: β₂, see :func:`metaphys.adamax`.
        eps: see :func:`metaphys.adamax`.
        moment_requires_grad: see :func:`metaphys.adamax`.

    Example:
        >>> import torch, metaphys
        >>> rule = metaphys.transform.scale_by_adamax()
        >>> rule.update([torch.tensor([-4.0])], rule.init([torch.zeros(1)]))[0]
        [tensor([-1.])]
    """
    rule = adamax(1.0, (b1, b2), eps, moment_requires_grad=moment_requires_grad)
    return direction(rule, "betas", "eps")


def scale_by_radam(
    b1: Hyper = 0.9, b2: Hyper = 0.999, eps: Hyper = 1e-8, moment_requires_grad: bool = False
) -> Rule:
    """The direction of :func:`metaphys.radam`.

    Args:
        b1: β₁, see :func:`metaphys.radam`.
        b2: β₂, see :func:`metaphys.radam`.
        eps: see :func:`metaphys.radam`.
        moment_requires_grad: see :func:`metaphys.radam`.

    Example:
        >>> import torch, metaphys
        >>> rule = metaphys.transform.scale_by_radam()
        >>> rule.update([torch.tensor([-4.0])], rule.init([torch.zeros(1)]))[0]
        [tensor([-4.])]
    """
    rule = radam(1.0, (b1, b2), eps, moment_requires_grad=moment_requires_grad)
    return direction(rule, "betas", "eps")


def scale_by_adadelta(
    rho: Hyper = 0.9, eps: Hyper = 1e-6, moment_requires_grad: bool = False
) -> Rule:
    """The direction of :func:`metaphys.adadelta`.

    Args:
        rho: see :func:`metaphys.adadelta`.
        eps: see :func:`metaphys.adadelta`.
        moment_requires_grad: see :func:`metaphys.adadelta`.

    Example:
        >>> import torch, metaphys
        >>> rule = metaphys.transform.scale_by_adadelta(rho=0.75, eps=5.0)
        >>> rule.update([torch.tensor([4.0])], rule.init([torch.zeros(1)]))[0]
        [tensor([2.9814])]
    """
    rule = adadelta(1.0, rho, eps, moment_requires_grad=moment_requires_grad)
    return direction(rule, "rho", "eps")


def scale_by_rss(initial_accumulator_value: Scalar = 0.0, eps: Hyper = 1e-10) -> Rule:
    """The direction of :func:`metaphys.adagrad`: over the root of the sum of squares so far.

    Args:
        initial_accumulator_value: what the sum starts from.
        eps: see :func:`metaphys.adagrad`.

    Example:
        >>> import torch, metaphys
        >>> rule = metaphys.transform.scale_by_rss(initial_accumulator_value=9.0)
        >>> rule.update([torch.tensor([4.0])], rule.init([torch.zeros(1)]))[0]
        [tensor([0.8000])]
    """
    rule = adagrad(1.0, initial_accumulator_value=initial_accumulator_value, eps=eps)
    return direction(rule, "initial_accumulator_value", "eps")


def scale_by_rms(alpha: Hyper = 0.9, eps: Hyper = 1e-8, initial_scale: Scalar = 0.0) -> Rule:
    """The direction of :func:`metaphys.rmsprop`: over the root of the mean of squares.

    Args:
        alpha: see :func:`metaphys.rmsprop`.
        eps: see :func:`metaphys.rmsprop`.
        initial_scale: what the mean starts from.

    Example:
        >>> import torch, metaphys
        >>> rule = metaphys.transform.scale_by_rms(alpha=0.75)
        >>> rule.update([torch.tensor([4.0])], rule.init([torch.zeros(1)]))[0]
        [tensor([2.])]
    """
    rule = rmsprop(1.0, alpha, eps, initial_scale=initial_scale)
    return direction(rule, "alpha", "eps", "initial_scale")


def scale_by_stddev(alpha: Hyper = 0.9, eps: Hyper = 1e-8, initial_scale: Scalar = 0.0) -> Rule:
    """The direction of a centered :func:`metaphys.rmsprop`: over the standard deviation.

    Args:
        alpha: see :func:`metaphys.rmsprop`.
        eps: see :func:`metaphys.rmsprop`.
        initial_scale: what the mean of squares starts from.

    Example:
        >>> import torch, metaphys
        >>> rule = metaphys.transform.scale_by_stddev(alpha=0.5)
        >>> rule.update([torch.tensor([4.0])], rule.init([torch.zeros(1)]))[0]
        [tensor([2.])]
    """
    rule = rmsprop(1.0, alpha, eps, centered=True, initial_scale=initial_scale)
    return direction(rule, "alpha", "eps", "initial_scale")
