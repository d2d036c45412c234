"""The functional core of meta-learning: k inner steps as one differentiable function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Any, NamedTuple

from torch import Tensor

from metaphys._errors import check
from metaphys._typing import Tree
from metaphys.meta._compile import Mode, chosen
from metaphys.meta._flat_rule import FlatRule
from metaphys.meta._loop import COMPLETED, NONFINITE, STOPPED
from metaphys.meta._run import Options, Trees, check_kind, check_options, run
from metaphys.meta.adjoint import Adjoint, Full
from metaphys.optim.rule import Rule


class Status(IntEnum):
    """How an unroll ended.

    Example:
        >>> import torch, metaphys
        >>> rule, start = metaphys.sgd(lr=9.0), torch.tensor(9.0)
        >>> metaphys.unroll(lambda p, _: p**4, rule, start, steps=9).status.name
        'nonfinite'
    """

    completed = COMPLETED
    """All steps were taken, and loss and parameters stayed finite."""

    nonfinite = NONFINITE
    """A loss, or the last parameters, are infinite or not a number."""

    stopped = STOPPED
    """The loss came to ``stop_below``; the parameters stayed as they were from there on."""


class Unrolled(NamedTuple):
    """What :func:`unroll` gives; a tree of tensors, so that ``torch.func.vmap`` can return it.

    Attributes:
        params: the parameters after the last step, a tree like the start.
        state: the rule's state after the last step.
        losses: the inner loss before each step, (steps,), differentiable like the rest.
        code: the status as a tensor, one of :class:`Status` (int64, 0-d; mapped under ``vmap``).
        trajectory: if it was asked for, the parameters after each step: a tree like ``params``
            whose tensors are (steps, ...); else an empty tuple.
    """

    params: Tree
    state: Any
    losses: Tensor
    code: Tensor
    trajectory: Tree

    @property
    def status(self) -> Any:
        """The :class:`Status`; for a batch of unrolls a list of them. Not inside ``vmap``."""
        values = self.code.tolist()
        return [Status(each) for each in values] if isinstance(values, list) else Status(values)


def unroll(
    loss_fn: Callable[..., Tensor],
    rule: Rule,
    params: Tree,
    *,
    steps: int,
    batches: Tree = None,
    meta: Tree = None,
    state: Any = None,
    adjoint: Adjoint = Full(),  # noqa: B008 (frozen)
    stop_below: float | None = None,
    trajectory: bool = False,
    compile: bool | Mode = False,
    backend: str = "inductor",
) -> Unrolled:
    r"""Take ``steps`` steps of ``rule``, as one function that can be differentiated.

    .. math::
        g_t = \nabla_p L(p_t, \mu, b_t),\qquad
        (p_{t+1}, s_{t+1}) = \operatorname{rule}_h(p_t, s_t, g_t),\qquad t = 0, \dots, k - 1

    The result is differentiable in the start p₀, the meta-parameters μ, the rule's hyper-parameters
    h that are tensors, the data b and a given state s₀: by autograd and by ``torch.func``, and
    ``torch.func.vmap`` runs many tasks at once. ``adjoint`` says how, at which cost. A leaf that
    the loss does not depend on has the gradient zero.

    What is run again takes the same random numbers, and the readouts of physical devices are
    replayed, not measured again.

    Args:
        loss_fn: ``loss_fn(params, meta)``, or ``loss_fn(params, meta, batch)`` where ``batches``
            are given: a scalar tensor. It must not change tensors that it closes over.
        rule: what :func:`metaphys.sgd` and its like return.
        params: the start p₀, any tree of floating-point tensors (``None`` leaves stay).
        steps: k ≥ 1.
        batches: a tree of tensors (steps, ...): step t sees index t of each.
        meta: a tree, passed on to ``loss_fn``; its tensors are differentiated.
        state: the rule's state to go on from; ``rule.init(params)`` by default.
        adjoint: one of :mod:`metaphys.adjoint`.
        stop_below: take no further step once the loss is at most this, ``Status.stopped``. The
            remaining losses are computed all the same.
        trajectory: give the parameters after each step too.
        compile: by torch.compile, with the inner gradient inside. ``True`` or ``"step"`` compiles
            one step and its pullback, whatever the number of steps; ``"graph"`` all steps as one
            program, whose compilation grows with them. Python around the tensors of the loss runs
            once an unroll, not once a step. What is compiled is kept by the code of
            ``loss_fn``, the rule with its numbers, and shapes: pass what changes as tensors. First
            derivatives only, under ``torch.func`` too; a tensor that the loss closes over gets its
            gradient, or is refused inside of ``torch.func``. :class:`Full` keeps what the pullback
            of each step needs, :class:`Checkpoint` and :class:`Mixed` what enters a segment. What
            cannot be compiled (random numbers, devices, branches on values) runs as it is, with one
            warning that says why.
        backend: of torch.compile, for ``compile``.

    Returns:
        An :class:`Unrolled`. A loss that is not finite raises nothing: it is in its ``status``.

    Raises:
        TypeError: if an argument is of a wrong kind.
        ValueError: if ``steps`` is no positive integer, a batch has another leading dimension, the
            loss is no scalar, or it closes over what ``adjoint`` cannot differentiate.

    Example:
        >>> import torch, metaphys
        >>> def loss(params, meta, batch):
        ...     return ((params["w"] * batch - meta) ** 2).mean()
        >>> rate = torch.tensor(0.1, requires_grad=True)
        >>> meta = torch.tensor(1.0, requires_grad=True)
        >>> end = metaphys.unroll(loss, metaphys.sgd(lr=rate), {"w": torch.tensor(0.0)}, steps=2,
        ...                       batches=torch.ones(2, 3), meta=meta,
        ...                       adjoint=metaphys.adjoint.Checkpoint())
        >>> end.params["w"], end.status.name
        (tensor(0.3600, grad_fn=<...>), 'completed')
        >>> torch.autograd.grad(end.params["w"], (meta, rate))
        (tensor(0.3600), tensor(3.2000))
    """
    check(callable(loss_fn), "loss_fn", expected="callable", got=loss_fn, error=TypeError)
    check_kind("rule", rule, Rule, "a rule such as metaphys.sgd(lr=0.1)")
    options = Options(steps, adjoint, stop_below, trajectory)
    check_options(options, batches)
    options = options._replace(compile=chosen(compile, backend))
    core, hyper, leaves = rule.on_leaves_of(params)
    _check_params(params, leaves)
    start = core.init(leaves, hyper) if state is None else state
    trees = Trees(params, [start], (), meta, batches)
    end = run(loss_fn, FlatRule((core,), (len(leaves),), [hyper]), trees, options)
    return Unrolled(end.params, end.state[0], end.losses, end.code, end.trajectory)


def _check_params(params: Tree, leaves: Sequence[Tensor]) -> None:
    check(bool(leaves), "params", expected="a tree with a tensor", got=params)
    for leaf in leaves:
        check(
            leaf.is_floating_point(),
            "params",
            expected="a tree of floating-point tensors",
            got=leaf.dtype,
            remedy="Pass other tensors through `meta=`.",
        )
