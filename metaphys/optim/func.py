"""The functional form with the state kept inside: a loss and parameters in, parameters out."""

from __future__ import annotations

from typing import Any, final

import torch

from metaphys._errors import check, check_kind
from metaphys._tree import flatten_tensors, map_tensors, unflatten
from metaphys._typing import Tree
from metaphys.optim._empty import UninitializedState
from metaphys.optim._gradients import check_loss, gradients
from metaphys.optim._state import is_state
from metaphys.optim.rule import Rule, apply_updates


@final
class FuncOptimizer:
    r"""Steps any tree of parameters by a rule, and keeps the rule's state.

    .. math::
        u, s' = \mathrm{rule}(\nabla_p L, s, p),\qquad p' = p + u

    Out of place (the default) ``p'`` is a function of the loss, the old parameters and the rule's
    learned hyper-parameters that can be differentiated to any order. In place no graph is made.

    Args:
        rule: what :func:`metaphys.sgd` and its like return.
        inplace: what :meth:`step` does where it is not told.

    Raises:
        TypeError: if ``rule`` is no rule.

    Example:
        >>> import torch, metaphys
        >>> params = {"w": torch.tensor(1.0, requires_grad=True)}
        >>> x = torch.tensor(2.0, requires_grad=True)
        >>> optimizer = metaphys.FuncOptimizer(metaphys.sgd(lr=1.0))
        >>> params = optimizer.step(params["w"] * x**2, params)
        >>> torch.autograd.grad(params["w"] * x**2, x)
        (tensor(-28.),)
    """

    def __init__(self, rule: Rule, *, inplace: bool = False) -> None:
        check_kind(rule, Rule, "rule", expected="a rule such as metaphys.sgd(lr=0.1)")
        self.rule = rule
        self.inplace = bool(inplace)
        self._state: Any = UninitializedState()

    @torch.enable_grad()
    def step(self, loss: torch.Tensor, params: Tree, inplace: bool | None = None) -> Tree:
        """The parameters after one step.

        Args:
            loss: a finite scalar with a graph to at least one of ``params``. (Finiteness is
                checked on the CPU only.)
            params: any tree of tensors; a leaf that is ``None``, frozen or not in the loss stays
                as it is. The first call's tree says what the state is made for.
            inplace: write into the tensors of ``params``, without a graph of the step.

        Returns:
            A tree like ``params``; in place, ``params`` itself.

        Raises:
            TypeError: if a leaf is no tensor.
            ValueError: if the loss is no finite scalar or depends on no parameter, or the tree is
                another one than before. Nothing has changed then.
        """
        inplace = self.inplace if inplace is None else inplace
        check_loss(loss)
        leaves, spec = flatten_tensors(params, "params")
        grads = gradients(loss, leaves, create_graph=not inplace)
        with torch.set_grad_enabled(not inplace):
            new = isinstance(self._state, UninitializedState)
            state = self.rule.init(params) if new else self._state
            updates, state = self.rule.update(unflatten(spec, list(grads)), state, params)
            stepped = apply_updates(params, updates, inplace=inplace)
        # What was made out of place may have a graph that a step in place must not keep alive.
        self._state = map_tensors(torch.Tensor.detach, state) if inplace else state
        return stepped

    def state_dict(self) -> Any:
        """The rule's state, by reference (with its graph).

        Before the first step it is :class:`metaphys.optim.UninitializedState`.
        """
        return self._state

    def load_state_dict(self, state_dict: Any) -> None:
        """Restore what :meth:`state_dict` returned.

        Raises:
            TypeError: if it is no state. The optimizer is unchanged then.
        """
        check(
            is_state(state_dict),
            "state_dict",
            expected="what `state_dict` returned",
            got=type(state_dict).__name__,
            error=TypeError,
        )
        self._state = state_dict
