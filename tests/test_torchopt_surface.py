"""TorchOpt's public names and arguments: a call that is right there is right here.

``torchopt-0.7.3.json`` holds them, module by module, so that they are held where TorchOpt is not
installed; where it is, the table is compared with it.
"""

from __future__ import annotations

import importlib
import inspect
import json
import warnings
from operator import attrgetter
from pathlib import Path

import pytest

TABLE = json.loads(Path(__file__).with_name("torchopt-0.7.3.json").read_text())
"""``{module: {name: {"": its arguments, method: its arguments}}}``; null for what is not called.

Without implicit and zero-order derivatives and what is distributed, which are no part of this.
"""

OTHERWISE = {
    # The project's word is rule; a rule comes second, or first, by position.
    ("FuncOptimizer", "impl"): "rule",
    ("MetaOptimizer", "impl"): "rule",
    ("Optimizer", "impl"): "rule",
    # A torch.optim.Optimizer has torch's.
    ("Optimizer.add_param_group", "params"): "param_group",
}
"""Arguments that are called otherwise."""

DEFAULTS = {
    # The functional forms have the defaults that their classes have, in TorchOpt and in torch.
    ("adadelta", "lr"): 1.0,
    ("adamax", "lr"): 2e-3,
    ("adamax", "eps"): 1e-8,
    ("radam", "eps"): 1e-8,
    ("scale_by_adamax", "eps"): 1e-8,
    ("scale_by_radam", "eps"): 1e-8,
    # As torch.optim.Optimizer.
    ("Optimizer.zero_grad", "set_to_none"): True,
    **{
        (name, "use_accelerated_op"): True  # it is accepted; a kernel is used where there is one
        for name in ("adam", "adamw", "Adam", "AdamW", "MetaAdam", "MetaAdamW")
    },
}
"""Defaults that differ, and what they are here."""


def _arguments(thing: object) -> str | None:
    """The arguments as one writes them, without annotations."""
    try:
        signature = inspect.signature(thing)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    bare = [
        p.replace(annotation=p.empty) for p in signature.parameters.values() if p.name != "self"
    ]
    return str(inspect.Signature(bare))[1:-1]


def _described(thing: object) -> dict[str, str] | None:
    own = _arguments(thing) if callable(thing) else None
    if own is None:
        return None
    methods = vars(thing) if inspect.isclass(thing) else {}
    public = {
        name: _arguments(value)
        for name, value in methods.items()
        if not name.startswith("_") and inspect.isfunction(value)
    }
    return {"": own, **{name: found for name, found in public.items() if found is not None}}


def _table(module: str) -> dict[str, dict[str, str] | None]:
    found = importlib.import_module(module)
    return {
        name: None if module.endswith("typing") else _described(getattr(found, name))
        for name in sorted(TABLE[module])
    }


NAMES = [(module, name) for module, names in TABLE.items() for name in names]


@pytest.mark.parametrize(("module", "name"), NAMES, ids=".".join)
def test_a_call_that_is_right_there_is_right_here(module, name):
    door = importlib.import_module(module.replace("torchopt", "metaphys"))
    assert hasattr(door, name)
    thing, calls = getattr(door, name), TABLE[module][name] or {}
    for method, wanted in calls.items():
        called = getattr(thing, method) if method else thing
        _check_calls(f"{name}.{method}".rstrip("."), wanted, called)


def _check_calls(name, wanted, called):
    theirs = inspect.signature(eval(f"lambda {wanted}: None")).parameters.values()
    ours = {p.name: p for p in inspect.signature(called).parameters.values() if p.name != "self"}
    order = [p.name for p in ours.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    position, known = 0, set()
    for each in theirs:
        if each.kind is each.VAR_POSITIONAL:
            assert any(p.kind is p.VAR_POSITIONAL for p in ours.values())
        if each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD):
            continue
        here = OTHERWISE.get((name, each.name), each.name)
        assert here in ours, each
        known.add(here)
        if each.kind is each.POSITIONAL_OR_KEYWORD:
            assert order[position] == here, each
            position += 1
        if each.default is not each.empty:
            differs = DEFAULTS.get((name, each.name), each.default)
            assert ours[here].default in (each.default, differs), each
    # Nothing else has to be given.
    others = [p for p in ours.values() if p.name not in known]
    assert all(p.default is not p.empty or "VAR" in p.kind.name for p in others)


def test_what_differs_is_told():
    page = (Path(__file__).parent.parent / "docs/how-to/from-torchopt.md").read_text()
    for (name, argument), value in DEFAULTS.items():
        told = f"`{name.split('.')[-1]}`" in page and f"`{argument}`" in page
        assert told, f"{name}({argument}={value!r}) is not on the page for those who move"


MISSING = {
    "transform": ("scale.flat", "trace.impl"),
    "alias.utils": ("flip_sign_and_add_weight_decay", "scale_by_neg_lr"),
    "transform.utils": ("inc_count", "update_moment", "tree_map_flat", "tree_map_flat_"),
    "accelerated_op": ("AdamOp.MuOp", "AdamOp.NuOp", "AdamOp.UpdatesOp"),
    "pytree": ("tree_as_rref", "tree_to_here"),
    "typing": ("RRef",),
    "nn": ("ImplicitMetaGradientModule", "ZeroOrderGradientModule"),
}
"""Names of TorchOpt, by module, that are not here."""


@pytest.mark.parametrize("module", MISSING)
def test_what_is_not_here_is_told(module):
    page = (Path(__file__).parent.parent / "docs/how-to/from-torchopt.md").read_text()
    told = page[page.index("## What is not here") : page.index("## Where to go further")]
    for name in MISSING[module]:
        assert name in told
        with pytest.raises((ImportError, AttributeError)):
            attrgetter(name)(importlib.import_module(f"metaphys.{module}"))


@pytest.mark.parametrize("module", TABLE)
def test_the_table_is_torchopts(module):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torchopt = pytest.importorskip("torchopt", reason="TorchOpt is not installed")
        if torchopt.__version__ != "0.7.3":
            pytest.skip(f"the table is of TorchOpt 0.7.3, this is {torchopt.__version__}")
        assert _table(module) == TABLE[module]
