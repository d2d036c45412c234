"""What the state dict of a stateful optimizer holds, and whether it belongs to a rule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from metaphys._errors import check
from metaphys.optim._core import select_hyper
from metaphys.optim._state import is_state, names_of, steps_of
from metaphys.optim.rule import Rule

Group = dict[str, Any]


class Saved(NamedTuple):
    """What a state dict holds for one parameter of a group."""

    group: Group
    index: int
    param: torch.Tensor
    state: dict[str, torch.Tensor]


def group_key(index: int) -> str:
    """Where the state of a whole group is, if it cannot be taken apart."""
    return f"group {index}"


def saved_states(groups: Sequence[Group], state_dict: Mapping[str, Any]) -> Iterator[Saved]:
    """What a state dict holds for each parameter of ``groups``."""
    for group, saved in zip(groups, state_dict["param_groups"]):
        for index, (param, number) in enumerate(zip(group["params"], saved["params"])):
            yield Saved(group, index, param, state_dict["state"].get(number, {}))


def check_state_dict(
    rule: Rule,
    groups: Sequence[Group],
    hypers: Sequence[Mapping[str, Any]],
    state_dict: Mapping[str, Any],
) -> None:
    """Refuse the state dict of another rule, or of other parameters.

    Args:
        rule: the rule of the optimizer that it is loaded into.
        groups: its parameter groups.
        hypers: the hyper-parameters of each, as the core takes them.
        state_dict: what is loaded.
    """
    for saved in state_dict["param_groups"]:
        missing = [name for name in rule.hyper if name not in saved]
        check(
            not missing,
            "state_dict",
            expected=f"of an optimizer with the hyper-parameters {list(rule.hyper)}",
            got=f"one without {missing}",
        )
    for index, (group, hyper) in enumerate(zip(groups, hypers)):
        if rule.core.whole:
            _check_whole(rule, group, hyper, state_dict["state"].get(group_key(index)))
    by_group = {id(group): hyper for group, hyper in zip(groups, hypers)}
    for group, _, param, state in saved_states(groups, state_dict):
        none = rule.core.init([], select_hyper(by_group[id(group)], []))
        names = set(names_of(none))
        steps = {name for name in names if name.split(".")[-1] == "step"}
        check(
            not state or steps <= set(state) <= names,
            "state_dict",
            expected=f"of an optimizer with the state {sorted(names)}",
            got=f"{sorted(state)}",
        )
        for name, value in state.items():
            # Some rules keep one number for a parameter.
            check(
                value.shape in (param.shape, ()),
                "state_dict",
                expected=f"of parameters of the shape {tuple(param.shape)}",
                got=f"{name} of shape {tuple(value.shape)}",
            )


def _check_whole(rule: Rule, group: Group, hyper: Mapping[str, Any], state: Any) -> None:
    """Refuse a state of all parameters of a group that is another rule's, or of other numbers."""
    if state is None:  # no step has been taken
        return
    start = rule.core.init(group["params"], hyper)
    wanted, steps = names_of(start), len(group["params"])
    known = is_state(state)
    check(
        known and names_of(state) == wanted and len(steps_of(state)) == steps,
        "state_dict",
        expected=f"of an optimizer with the state {wanted} of {steps} parameters",
        got=f"{names_of(state)} of {len(steps_of(state))}" if known else type(state).__name__,
    )
