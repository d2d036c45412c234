"""The stateful form: a rule as a ``torch.optim.Optimizer``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, overload

import torch

from metaphys.optim.rule import Rule, resolve


class Optimizer(torch.optim.Optimizer):
    """Steps parameters in place by a rule, without a graph.

    A real ``torch.optim.Optimizer``: groups hold the rule's hyper-parameters as plain values and
    every step reads them there, so learning-rate schedulers, parameter groups with options,
    ``state_dict``, ``load_state_dict`` and ``deepcopy`` work as usual.

    Args:
        params: parameters, or dicts of parameter groups, as for torch.optim.
        rule: what :func:`metaphys.sgd` and its like return.

    Example:
        >>> import torch, metaphys
        >>> w = torch.nn.Parameter(torch.tensor([1.0]))
        >>> optimizer = metaphys.Optimizer([w], metaphys.sgd(lr=0.1))
        >>> (w**2).sum().backward()
        >>> optimizer.step()
        >>> w.data
        tensor([0.8000])
    """

    def __init__(self, params: Iterable[Any], rule: Rule) -> None:
        self.rule = rule
        super().__init__(params, dict(rule.hyper))

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters, with their own hyper-parameters where given."""
        given = {k: v for k, v in param_group.items() if k in self.rule.hyper}
        self.rule.core.check({**self.rule.hyper, **given})
        super().add_param_group(param_group)

    @overload
    def step(self, closure: None = ...) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step from the ``.grad`` of every parameter; those without one stay as they are."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if params:
                self._step_group(params, {name: group[name] for name in self.rule.hyper})
        return loss

    def _step_group(self, params: list[torch.Tensor], hyper: Mapping[str, Any]) -> None:
        core = self.rule.core
        for param in params:
            if not self.state[param]:
                self.state[param] = _unpack(core.init([param], hyper), 1)[0]
        state = _pack(type(core.init([], hyper)), [self.state[param] for param in params])
        grads = [param.grad for param in params]
        hyper = resolve(hyper, state.count)
        if not core.update_in_place(params, grads, state, hyper):  # type: ignore[arg-type]
            updates, state = core.update(grads, state, params, hyper)  # type: ignore[arg-type]
            for param, update in zip(params, updates):
                param.add_(update)
        for param, values in zip(params, _unpack(state, len(params))):
            self.state[param] = values

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore groups and state; moments keep their own dtype.

        torch.optim casts state to the parameter's dtype, which would make the float32 moments of a
        bfloat16 parameter bfloat16.
        """
        super().load_state_dict(state_dict)
        saved = state_dict["state"]
        indices = [i for group in state_dict["param_groups"] for i in group["params"]]
        params = [p for group in self.param_groups for p in group["params"]]
        for index, param in zip(indices, params):
            for name, value in saved.get(index, {}).items():
                device = "cpu" if name == "step" else param.device
                self.state[param][name] = value.detach().to(device, copy=True)


def _unpack(state: Any, n: int) -> list[dict[str, torch.Tensor]]:
    """A state of n leaves as one dict a leaf; the count is called ``step``, as in torch.optim."""
    fields = {name: value for name, value in state._asdict().items() if name != "count" and value}
    steps = state.count.unbind(0)
    return [
        {"step": steps[i], **{name: value[i] for name, value in fields.items()}} for i in range(n)
    ]


def _pack(kind: Any, states: list[dict[str, torch.Tensor]]) -> Any:
    """The inverse of :func:`_unpack`."""
    fields = {
        name: tuple(state[name] for state in states if name in state)
        for name in kind._fields
        if name != "count"
    }
    return kind(count=torch.stack([state["step"] for state in states]), **fields)
