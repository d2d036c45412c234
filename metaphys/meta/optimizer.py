"""The meta form: a step of an optimizer as a differentiable operation on a module."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import nn

from metaphys._errors import check, check_kind, refuse
from metaphys._tree import map_tensors
from metaphys._typing import Tree
from metaphys.meta._flat_rule import FlatRule
from metaphys.meta._from_torch import groups_of
from metaphys.meta._group import Group, layout, with_group
from metaphys.meta._history import Moment, at_time, now
from metaphys.meta._in_modules import by_module, moments, unroll_groups
from metaphys.meta._run import Options, check_options
from metaphys.meta._step import GradCallback, called_back, stepped, stepped_anew
from metaphys.meta._tensors import cut, cut_buffers, cut_modules, deep_copies, module_tensors
from metaphys.meta.adjoint import Adjoint, Full
from metaphys.meta.unroll import Unrolled
from metaphys.optim._gradients import check_loss, gradients
from metaphys.optim.rule import Rule


class MetaOptimizer:
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
        self._groups: list[Group] = []
        self._past: list[Moment] = []
        self._span = 0  # steps in the graph

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

    def add_param_group(
        self,
        module: nn.Module,
        params: Iterable[str | torch.Tensor] | None = None,
        **hyper: Any,
    ) -> None:
        """Step another module too, or some parameters with hyper-parameters of their own.

        Args:
            module: the module.
            params: parameters of it, or their names. Those that are stepped already leave their
                group, and take their state along. ``None``: all that require a gradient; none of
                them may be stepped yet.
            hyper: hyper-parameters of their own, such as ``lr=0.01``; the rest are the rule's, or
                those of the group that they leave. Each may be learned.

        Raises:
            TypeError: if ``module`` is no ``nn.Module``.
            ValueError: if there is no parameter that requires a gradient, or one that is stepped
                already (see ``params``), or a hyper-parameter is unknown or out of its range.
                Nothing is changed then.

        Example:
            >>> import torch, metaphys
            >>> net = torch.nn.Linear(1, 1)
            >>> optimizer = metaphys.MetaSGD(net, lr=0.1)
            >>> rate = torch.tensor(0.5, requires_grad=True)
            >>> optimizer.add_param_group(net, params=["bias"], lr=rate)
            >>> optimizer.step(net(torch.ones(1, 1)).sum())
            >>> torch.autograd.grad(net.bias.sum(), rate)
            (tensor(-1.),)
        """
        for name in hyper:
            check(
                name in self.rule.hyper, name, expected=f"one of {list(self.rule.hyper)}", got=name
            )
        self._groups = with_group(self._groups, self.rule, module, params, hyper)

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

    @torch.enable_grad()
    def unroll(
        self,
        loss_fn: Callable[..., torch.Tensor],
        steps: int,
        *,
        batches: Tree = None,
        meta: Tree = None,
        adjoint: Adjoint = Full(),  # noqa: B008 (frozen)
        stop_below: float | None = None,
        trajectory: bool = False,
    ) -> Unrolled:
        """Take ``steps`` steps at once, differentiated as ``adjoint`` says.

        With :class:`metaphys.adjoint.Full` this is as many times :meth:`step`; the others save
        memory or time: see :func:`metaphys.unroll`, which this is for modules. The parameters,
        the buffers and the optimizer's state are replaced by those after the last step.

        ``first_order``, ``grad_callback`` and ``record`` of the optimizer hold here too. A
        parameter that the loss does not depend on has the gradient zero, where :meth:`step`
        leaves it and its state as they are. A buffer is a constant of the derivative.

        Args:
            loss_fn: ``loss_fn()``, or ``loss_fn(batch)``, ``loss_fn(meta)``, ``loss_fn(meta,
                batch)`` where these are given: a scalar tensor, computed with the modules as they
                are when it is called.
            steps: k ≥ 1.
            batches: a tree of tensors (steps, ...): step t sees index t of each.
            meta: a tree whose tensors are differentiated. A module in it stands for those of its
                parameters that require a gradient. ``Full`` differentiates what the loss closes
                over too.
            adjoint: one of :mod:`metaphys.adjoint`.
            stop_below: take no further step once the loss is at most this.
            trajectory: give the parameters after each step too.

        Returns:
            An :class:`metaphys.Unrolled`. ``params`` is a list with a dict by parameter name for
            each of :attr:`modules`, ``trajectory`` likewise; ``state`` is that of each group.

        Raises:
            TypeError: if an argument is of a wrong kind.
            ValueError: as :func:`metaphys.unroll`; or if a buffer has a graph, or the optimizer
                truncates. The module and the optimizer are unchanged then.

        Example:
            >>> import torch, metaphys
            >>> net = torch.nn.Linear(1, 1, bias=False)
            >>> _ = torch.nn.init.ones_(net.weight)
            >>> x = torch.tensor([[2.0]], requires_grad=True)
            >>> optimizer = metaphys.MetaSGD(net, lr=0.01)
            >>> end = optimizer.unroll(lambda x: net(x).square().sum(), steps=3, meta=x,
            ...                        adjoint=metaphys.adjoint.Checkpoint())
            >>> end.losses
            tensor([4.0000, 3.3856, 2.8656], grad_fn=<...>)
            >>> torch.autograd.grad(net.weight.sum(), x)  # d/dx (1 - 0.02 x²)³
            (tensor([[-0.2031]]),)
        """
        check(callable(loss_fn), "loss_fn", expected="callable", got=loss_fn, error=TypeError)
        check(
            self.truncate is None,
            "truncate",
            expected="None for an unroll",
            got=self.truncate,
            remedy="adjoint=metaphys.adjoint.Truncated(k) bounds its graph.",
        )
        options = Options(steps, adjoint, stop_below, trajectory or self.record)
        check_options(options, batches)
        rule = FlatRule(
            tuple(group.core for group in self._groups),
            tuple(len(group.slots) for group in self._groups),
            [dict(group.hyper) for group in self._groups],
            self.first_order,
            self.grad_callback,
        )
        start = now(self._groups)
        end = unroll_groups(self._groups, rule, loss_fn, batches, meta, options)
        if self.record:
            self._past += moments(start, end.trajectory)
        self._span += steps
        return Unrolled(
            by_module(self._groups, end.params),
            self.state_dict(),
            end.losses,
            end.code,
            by_module(self._groups, end.trajectory) if trajectory else (),
        )

    def parameters(
        self, time: int = -1, module: nn.Module | None = None
    ) -> dict[str, torch.Tensor]:
        """The parameters after a number of steps, by name, as ``torch.func.functional_call`` takes.

        Args:
            time: 0 for those before the first step, 1 after it, …; -1 for those now, -2 before the
                last step, …. Those of the past are kept with ``record=True``, until a state is
                loaded.
            module: one of :attr:`modules`; by default the first.

        Raises:
            ValueError: if that time is not recorded, or ``module`` is none of them.

        Example:
            >>> import torch, metaphys
            >>> net = torch.nn.Linear(1, 1)
            >>> start = net.weight
            >>> optimizer = metaphys.MetaSGD(net, lr=0.1, record=True)
            >>> optimizer.step(net(torch.ones(1, 1)).sum())
            >>> optimizer.parameters(time=0)["weight"] is start
            True
        """
        module = self.modules[0] if module is None else module
        check(
            any(module is each for each in self.modules),
            "module",
            expected="one of the modules that this optimizer steps",
            got=f"another {type(module).__name__}",
        )
        found = at_time(self._past, self._groups, time)
        return {each.name: each.value for each in found if each.module is module}

    @property
    def modules(self) -> list[nn.Module]:
        """The modules that it steps."""
        return list({id(group.module): group.module for group in self._groups}.values())

    def tensors(self) -> list[Any]:
        """Every tensor that it holds itself: state, hyper-parameters, past parameters; a tree."""
        past = [[each.value for each in moment] for moment in self._past]
        return [*((group.state, group.hyper) for group in self._groups), past]

    def stop_gradient(self) -> None:
        """Cut all history: of the modules' parameters and buffers, and of its own state.

        Example:
            >>> import torch, metaphys
            >>> net = torch.nn.Linear(1, 1)
            >>> optimizer = metaphys.MetaAdam(net, lr=0.1)
            >>> optimizer.step(net(torch.ones(1, 1)).sum())
            >>> optimizer.stop_gradient()
            >>> net.weight.is_leaf and net.weight.requires_grad
            True
        """
        cut_modules(self.modules)
        map_tensors(cut, self.state_groups)
        self._span = 0

    @property
    def state_groups(self) -> list[Any]:
        """The state of each group, as a list; TorchOpt's name."""
        return list(self.state_dict())

    def state_dict(self) -> tuple[Any, ...]:
        """The state of each group (of a module, unless it is split), by reference, with its graph.

        ``torch.save`` writes it, and ``torch.load`` reads it with ``weights_only=True``.
        """
        return tuple(group.state for group in self._groups)

    def load_state_dict(self, state_dict: Sequence[Any]) -> None:
        """Restore what :meth:`state_dict` returned.

        Raises:
            ValueError: if it belongs to another optimizer or module. Nothing is changed then.
        """
        states = tuple(state_dict)
        check(
            len(states) == len(self._groups),
            "state_dict",
            expected=f"of {len(self._groups)} states, one for each group",
            got=f"{len(states)}",
        )
        for group, state in zip(self._groups, states):
            expected, found = layout(group.state), layout(state)
            if found != expected:
                remedy = "It belongs to another optimizer or module."
                refuse("state_dict", expected=str(expected), got=found, remedy=remedy)
        for group, state in zip(self._groups, states):
            group.state = state
        self._past.clear()
        self._span = 0

    def __deepcopy__(self, memo: dict[int, Any]) -> MetaOptimizer:
        tensors = [tensor for tensor, _ in module_tensors(self.modules)]
        map_tensors(tensors.append, self.tensors())
        deep_copies(tensors, memo)
        new = object.__new__(type(self))
        memo[id(self)] = new
        new.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return new
