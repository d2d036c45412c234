"""The meta form: a step of an optimizer as a differentiable operation on a module."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from metaphys._errors import check, check_kind
from metaphys.meta._from_torch import groups_of
from metaphys.meta._history import now
from metaphys.meta._step import GradCallback, called_back, stepped, stepped_anew
from metaphys.meta._tensors import cut_buffers
from metaphys.meta._unrolling import Unrolling
from metaphys.optim._gradients import check_loss, gradients
from metaphys.optim.rule import Rule


class MetaOptimizer(Unrolling):
    """Steps a module's parameters so that the step itself can be differentiated.

    :meth:`step` takes the gradient of a loss with its graph, and replaces the module's parameters
    by new tensors that depend on the old ones, on the loss, and on everything in it. An outer loss
    computed with the module then has a gradient for all of these.

    Args:
        module: the module whose parameters that require a gradient are stepped. Frozen parameters
            stay as they are, and weights that are tied stay tied.
        rule: what :func:`metaphys.sgd` and its like return. A hyper-parameter with one value for
            each parameter is a dict by parameter name.
        first_order: take gradients as constants, so that no graph of a backward pass is made: the
            outer gradient lacks the inner loss's second derivatives (first-order MAML, Finn et al.,
            arXiv 1703.03400, section 5.2). It still reaches the start and learned hyper-parameters.
        grad_callback: called before each step with the list of all gradients (``None`` for a
            parameter without one), which it may change, or return another one. Derivatives flow
            through it.
        truncate: k ≥ 1: no graph spans more than k steps. A step that would make it longer takes
            the past (parameters, state, buffers) as constants, and so memory is bounded however
            long the loop. Learned hyper-parameters keep their part of every step since.
        record: keep the parameters of all steps for :meth:`parameters`; memory then grows.

    The last four are attributes too, and may change between steps.

    Raises:
        TypeError: if ``module`` is no ``nn.Module``, or ``rule`` no rule.
        ValueError: if the module has no parameter that requires a gradient, or ``truncate`` is no
            positive integer.

    Example:
        >>> import torch, metaphys
        >>> net = torch.nn.Linear(1, 1, bias=False)
        >>> _ = torch.nn.init.ones_(net.weight)
        >>> x = torch.tensor([[2.0]], requires_grad=True)
        >>> optimizer = metaphys.MetaOptimizer(net, metaphys.sgd(lr=1.0))
        >>> optimizer.step((net(x**2)).sum())
        >>> net(x**2).sum().backward()
        >>> x.grad
        tensor([[-28.]])
    """

    def __init__(
        self,
        module: nn.Module,
        rule: Rule,
        *,
        first_order: bool = False,
        grad_callback: GradCallback | None = None,
        truncate: int | None = None,
        record: bool = False,
    ) -> None:
        check_kind(rule, Rule, "rule", expected="a rule such as metaphys.sgd(lr=0.1)")
        self._begin(rule, first_order, grad_callback, truncate, record)
        self.add_param_group(module)

    def _begin(
        self,
        rule: Rule,
        first_order: bool,
        grad_callback: GradCallback | None,
        truncate: int | None,
        record: bool,
    ) -> None:
        whole = isinstance(truncate, int) and not isinstance(truncate, bool) and truncate >= 1
        check(
            whole or truncate is None, "truncate", expected="a number of steps >= 1", got=truncate
        )
        self.rule = rule
        self.first_order = first_order
        self.grad_callback = grad_callback
        self.truncate = truncate
        self.record = record
        self._groups = []
        self._past = []
        self._span = 0

    @staticmethod
    def from_torch(
        optimizer: torch.optim.Optimizer,
        module: nn.Module,
        *,
        first_order: bool = False,
        grad_callback: GradCallback | None = None,
        truncate: int | None = None,
        record: bool = False,
        **hyper: Any,
    ) -> MetaOptimizer:
        """A meta-optimizer that goes on from where an optimizer of ``torch.optim`` is.

        Args:
            optimizer: SGD, Adam, AdamW, RMSprop, Adagrad, Adadelta, Adamax, NAdam, RAdam, Muon or
                a :class:`metaphys.Optimizer`. Its groups, their options as they are now and a copy
                of its state are taken.
            module: the module that holds its parameters; those that it does not step stay.
            first_order: see :class:`MetaOptimizer`, as for the next three.
            grad_callback: called before each step with the list of all gradients.
            truncate: how many steps a graph spans at most.
            record: keep the parameters of all steps.
            hyper: hyper-parameters in place of every group's own, such as a learned ``lr``.

        Raises:
            TypeError: if ``optimizer`` is no torch optimizer, or ``module`` no module.
            ValueError: if its kind or one of its options has no rule, or ``module`` lacks one of
                its parameters.

        Example:
            >>> import torch, metaphys
            >>> net = torch.nn.Linear(1, 1)
            >>> adam = torch.optim.Adam([{"params": net.weight, "lr": 0.1}, {"params": net.bias}])
            >>> optimizer = metaphys.MetaOptimizer.from_torch(adam, net)
            >>> optimizer.step(net(torch.ones(1, 1)).sum())
            >>> net.bias.grad_fn is not None
            True
        """
        groups = groups_of(optimizer, module, hyper)
        made = object.__new__(MetaOptimizer)
        made._begin(groups[0].rule, first_order, grad_callback, truncate, record)
        made._groups = groups
        return made

    @torch.enable_grad()
    def step(
        self,
        loss: torch.Tensor,
        *,
        first_order: bool | None = None,
        grad_callback: GradCallback | None = None,
    ) -> None:
        """Replace every parameter by its successor under the rule.

        The step is differentiable under ``torch.no_grad()`` too; what must not be is
        ``first_order`` with ``truncate=1``, or followed by :meth:`stop_gradient`.

        Args:
            loss: a finite scalar with a graph to at least one of the parameters. Parameters
                that it does not depend on keep their value and their state. (Finiteness is
                checked on the CPU only.)
            first_order: in place of the optimizer's own, for this step.
            grad_callback: likewise.

        Raises:
            ValueError: if the loss is not a scalar, is not finite, or has no graph, or the callback
                returns anything but gradients. The module and the optimizer are unchanged then.
        """
        check_loss(loss)
        first_order = self.first_order if first_order is None else first_order
        callback = self.grad_callback if grad_callback is None else grad_callback
        cutting = self.truncate is not None and self._span >= self.truncate
        params = [param for group in self._groups for param in group.params()]
        grads = gradients(loss, params, create_graph=not (first_order or cutting))
        if callback is not None:
            grads = called_back(callback, grads, params)
        # All that can fail comes first: a step is taken whole or not at all.
        rest, one = iter(grads), stepped_anew if cutting else stepped
        results = [one(group, rest) for group in self._groups]
        if self.record:
            self._past.append(now(self._groups))
        for group, (values, group.state) in zip(self._groups, results):
            for slot, value in zip(group.slots, values):
                slot.set(value)
        if cutting:
            for module in self.modules:
                cut_buffers(module)
        self._span = 1 if cutting else self._span + 1
