"""The stateful form: a rule as a ``torch.optim.Optimizer``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, overload

import torch

from metaphys._errors import check, check_kind, refuse
from metaphys.optim._state import pack, steps_of, unpack
from metaphys.optim._state_dict import check_state_dict, group_key, saved_states
from metaphys.optim.rule import (
    PerLeaf,
    Rule,
    select,
    select_hyper,
    update_leaves,
    values_of_params,
)


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
        check_kind(rule, Rule, "rule", expected="a rule such as metaphys.sgd(lr=0.1)")
        self.rule = rule
        super().__init__(params, dict(rule.hyper))

    def __getstate__(self) -> dict[str, Any]:
        # torch.optim names what is copied and pickled; the rule would be lost.
        return {**super().__getstate__(), "rule": self.rule}

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters, with their own hyper-parameters where given.

        Args:
            param_group: ``params``, and hyper-parameters that differ from the rule's. One that
                may differ from parameter to parameter (``lr``, ``mask``) may be a list.
        """
        check_kind(param_group, dict, "param_group", expected="a dict with `params`")
        given = {k: v for k, v in param_group.items() if k in self.rule.hyper}
        self.rule.core.check({**self.rule.hyper, **given})
        super().add_param_group(param_group)
        try:
            self._spread(self.param_groups[-1])
        except (TypeError, ValueError):
            self.param_groups.pop()
            raise

    def _spread(self, group: dict[str, Any]) -> None:
        """Make lists of hyper-parameters that have one value for each parameter."""
        core = self.rule.core
        for name in core.per_leaf:
            value = group[name]
            check(
                not isinstance(value, Mapping),
                name,
                expected="one value, or a list with one for each parameter of the group",
                got=f"a {type(value).__name__}",
            )
            if isinstance(value, (tuple, list)) or (callable(value) and name in core.of_params):
                group[name] = values_of_params(name, value, group["params"])

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
        # Schedules and state come first, for all groups: what may fail, fails before any step.
        for finish in [self._prepare(i, group) for i, group in enumerate(self.param_groups)]:
            finish()
        return loss

    def _prepare(self, index: int, group: dict[str, Any]) -> Callable[[], None]:
        """What is left to do of a group's step, once nothing can fail."""
        _check_dense(group["params"])
        if not self.rule.core.whole:
            ready = self._by_leaf(group)
            return lambda: None if ready is None else self._step(ready)
        core, params, hyper = self.rule.core, group["params"], self.hyper_of(group)
        kept: Any = self.state  # torch.optim saves what is not a parameter's as it is
        state = kept[group_key(index)] if group_key(index) in kept else core.init(params, hyper)
        state = core.holding(state, hyper)
        updates, state = update_leaves(core, [p.grad for p in params], state, params, hyper)

        def finish() -> None:
            kept[group_key(index)] = state
            for param, update in zip(params, updates):
                if update is not None:
                    param.add_(update)

        return finish

    def hyper_of(self, group: dict[str, Any]) -> dict[str, Any]:
        """A group's hyper-parameters as its core takes them."""
        hyper = {name: group[name] for name in self.rule.hyper}
        for name in self.rule.core.per_leaf:
            if isinstance(hyper[name], list):
                hyper[name] = PerLeaf(tuple(hyper[name]))
        return hyper

    def state_of(self, index: int, start: Any) -> Any:
        """The state of a group as its core takes it; that of ``start`` where there is none yet."""
        kept: Any = self.state
        if self.rule.core.whole:
            return kept[group_key(index)] if group_key(index) in kept else start
        params = self.param_groups[index]["params"]
        own = [kept[param] if param in kept else {} for param in params]
        return pack(start, [{**a, **b} for a, b in zip(unpack(start, len(params)), own)])

    def _by_leaf(self, group: dict[str, Any]) -> _Prepared | None:
        """The parameters of a group that have a gradient, their state and hyper-parameters."""
        core, everything = self.rule.core, group["params"]
        present = [index for index, param in enumerate(everything) if param.grad is not None]
        if not present:
            return None
        hyper = self.hyper_of(group)
        params = select(everything, present)
        # What a first step would start from: a momentum that was 0 until now has no buffer yet.
        start = core.init(params[:1], select_hyper(hyper, present[:1]))
        names = unpack(start, 1)[0].keys()
        # Looked up once: the hash of a tensor costs as much as the step of a small one.
        states = [self.state[param] for param in params]
        for index, param, each in zip(present, params, states):
            if len(each) < len(names):
                first = unpack(core.init([param], select_hyper(hyper, [index])), 1)[0]
                each.update({name: first[name] for name in first if name not in each})
        state = known = pack(start, states)
        if len(present) < len(everything):
            known = pack(start, [self.state[p] for p in everything if p in self.state])
        hyper = select_hyper(core.resolve(hyper, known, everything), present)
        core.check_fits(params, hyper)
        return _Prepared(params, states, state, hyper)

    def _step(self, ready: _Prepared) -> None:
        core, params, state = self.rule.core, ready.params, ready.packed
        grads = [param.grad for param in params]
        after = core.update_in_place(params, grads, state, ready.hyper)  # type: ignore[arg-type]
        if after is state:  # all but the counts was written where it is
            for each, step in zip(ready.states, steps_of(state).unbind(0)):
                each["step"] = step
            return
        for each, values in zip(ready.states, unpack(after, len(params))):
            each.update(values)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore groups and state; moments keep their own dtype.

        torch.optim casts state to the parameter's dtype, which would make the float32 moments of a
        bfloat16 parameter bfloat16.

        Args:
            state_dict: what ``state_dict()`` of an optimizer with the same rule returned.

        Raises:
            ValueError: if it belongs to another rule or to other parameters. Nothing is changed.
        """
        hypers = [self.hyper_of(group) for group in self.param_groups]
        check_state_dict(self.rule, self.param_groups, hypers, state_dict)
        super().load_state_dict(state_dict)
        for group, index, param, saved in saved_states(self.param_groups, state_dict):
            if saved:
                hyper = select_hyper(self.hyper_of(group), [index])
                fresh = unpack(self.rule.core.init([param], hyper), 1)[0]
                for name, value in saved.items():
                    device = (fresh[name] if name in fresh else param).device
                    self.state[param][name] = value.detach().to(device, copy=True)


class _Prepared(NamedTuple):
    """What a step of one group needs: ``packed`` is ``states`` as the rule takes it."""

    params: list[torch.Tensor]
    states: list[dict[str, torch.Tensor]]
    packed: Any
    hyper: Mapping[str, Any]


def _check_dense(params: Iterable[torch.Tensor]) -> None:
    for index, param in enumerate(params):
        if param.grad is not None and param.grad.layout is not torch.strided:
            refuse(
                f"params[{index}].grad",
                expected="dense",
                got=str(param.grad.layout),
                remedy="Make it dense, for example by torch.nn.Embedding(sparse=False).",
            )
