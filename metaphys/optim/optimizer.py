"""The stateful form: a rule as a ``torch.optim.Optimizer``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, overload

import torch

from metaphys._errors import check
from metaphys.optim._parts import check_fits
from metaphys.optim.rule import PerLeaf, Rule, resolve, select, select_hyper, values_of_params


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
        check(
            isinstance(rule, Rule),
            "rule",
            expected="a rule such as metaphys.sgd(lr=0.1)",
            got=type(rule).__name__,
            error=TypeError,
        )
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
        check(
            isinstance(param_group, dict),
            "param_group",
            expected="a dict with `params`",
            got=type(param_group).__name__,
            error=TypeError,
        )
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
        for ready in [self._prepare(group) for group in self.param_groups]:
            if ready is not None:
                self._step(ready)
        return loss

    def _prepare(self, group: dict[str, Any]) -> _Prepared | None:
        """The parameters of a group that have a gradient, their state and hyper-parameters."""
        core, everything = self.rule.core, group["params"]
        present = [index for index, param in enumerate(everything) if param.grad is not None]
        if not present:
            return None
        hyper = {name: group[name] for name in self.rule.hyper}
        for name in core.per_leaf:
            if isinstance(hyper[name], list):
                hyper[name] = PerLeaf(tuple(hyper[name]))
        params = select(everything, present)
        # What a first step would start from: a momentum that was 0 until now has no buffer yet.
        start = core.init(params[:1], hyper)
        names = _unpack(start, 1)[0].keys()
        # Looked up once: the hash of a tensor costs as much as the step of a small one.
        states = [self.state[param] for param in params]
        for param, each in zip(params, states):
            if len(each) < len(names):
                first = _unpack(core.init([param], hyper), 1)[0]
                each.update({name: first[name] for name in first if name not in each})
        state = _pack(type(start), names, states)
        count = state.count
        if len(present) < len(everything):
            count = torch.stack([self.state[p]["step"] for p in everything if p in self.state])
        hyper = select_hyper(resolve(core, hyper, count, everything), present)
        check_fits(hyper["lr"], params)
        return _Prepared(params, states, state, hyper)

    def _step(self, ready: _Prepared) -> None:
        core, params, state = self.rule.core, ready.params, ready.packed
        grads = [param.grad for param in params]
        if core.update_in_place(params, grads, state, ready.hyper):  # type: ignore[arg-type]
            for each, step in zip(ready.states, state.count.unbind(0)):
                each["step"] = step
            return
        updates, state = core.update(grads, state, params, ready.hyper)  # type: ignore[arg-type]
        for param, update in zip(params, updates):
            param.add_(update)
        for each, values in zip(ready.states, _unpack(state, len(params))):
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
        self._check_state_dict(state_dict)
        super().load_state_dict(state_dict)
        for param, saved in self._saved(state_dict):
            for name, value in saved.items():
                device = "cpu" if name == "step" else param.device
                self.state[param][name] = value.detach().to(device, copy=True)

    def _saved(self, state_dict: dict[str, Any]) -> list[tuple[torch.Tensor, dict[str, Any]]]:
        """What a state dict holds for each parameter."""
        indices = [i for group in state_dict["param_groups"] for i in group["params"]]
        params = [p for group in self.param_groups for p in group["params"]]
        return [(p, state_dict["state"].get(index, {})) for index, p in zip(indices, params)]

    def _check_state_dict(self, state_dict: dict[str, Any]) -> None:
        fields = type(self.rule.core.init([], self.rule.hyper))._fields
        names = {"step", *fields} - {"count"}
        for group in state_dict["param_groups"]:
            missing = [name for name in self.rule.hyper if name not in group]
            check(
                not missing,
                "state_dict",
                expected=f"of an optimizer with the hyper-parameters {list(self.rule.hyper)}",
                got=f"one without {missing}",
            )
        for param, saved in self._saved(state_dict):
            check(
                not saved or ("step" in saved and names.issuperset(saved)),
                "state_dict",
                expected=f"of an optimizer with the state {sorted(names)}",
                got=f"{sorted(saved)}",
            )
            for name, value in saved.items():
                # Some rules keep one number for a parameter.
                check(
                    name == "step" or value.shape in (param.shape, ()),
                    "state_dict",
                    expected=f"of parameters of the shape {tuple(param.shape)}",
                    got=f"{name} of shape {tuple(value.shape)}",
                )


class _Prepared(NamedTuple):
    """What a step of one group needs: ``packed`` is ``states`` as the rule takes it."""

    params: list[torch.Tensor]
    states: list[dict[str, torch.Tensor]]
    packed: Any
    hyper: Mapping[str, Any]


def _unpack(state: Any, n: int) -> list[dict[str, torch.Tensor]]:
    """A state of n leaves as one dict a leaf; the count is called ``step``, as in torch.optim."""
    fields = {name: value for name, value in state._asdict().items() if name != "count" and value}
    steps = state.count.unbind(0)
    return [
        {"step": steps[i], **{name: value[i] for name, value in fields.items()}} for i in range(n)
    ]


def _pack(kind: Any, names: Iterable[str], states: list[dict[str, torch.Tensor]]) -> Any:
    """The inverse of :func:`_unpack`; ``names`` are those that the rule uses at present."""
    fields = {
        name: tuple(state[name] for state in states) if name in names else ()
        for name in kind._fields
        if name != "count"
    }
    return kind(count=torch.stack([state["step"] for state in states]), **fields)
