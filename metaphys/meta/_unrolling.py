"""Many steps of a meta-optimizer at once."""

from __future__ import annotations

from collections.abc import Callable

import torch

from metaphys._errors import check
from metaphys._typing import Tree
from metaphys.meta._compile import Mode, chosen
from metaphys.meta._flat_rule import FlatRule
from metaphys.meta._grouped import Grouped
from metaphys.meta._history import now
from metaphys.meta._in_modules import by_module, moments, unroll_groups
from metaphys.meta._run import Options, check_options
from metaphys.meta._step import GradCallback
from metaphys.meta.adjoint import Adjoint, Full
from metaphys.meta.unroll import Unrolled


class Unrolling(Grouped):
    """The part of :class:`metaphys.MetaOptimizer` that takes many steps at once."""

    first_order: bool
    grad_callback: GradCallback | None
    truncate: int | None
    record: bool

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
        compile: bool | Mode = False,
        backend: str = "inductor",
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
            compile: by torch.compile, as :func:`metaphys.unroll`.
            backend: of torch.compile, for ``compile``.

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
        how = chosen(compile, backend)
        options = Options(steps, adjoint, stop_below, trajectory or self.record, how)
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
