"""Public names: each documented with an example, and the same arguments in every form."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

import pytest
import torch

import metaphys

PACKAGE = Path(metaphys.__file__).parent
TESTS = Path(__file__).parent
SUBPACKAGES = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))


def _public() -> dict[str, object]:
    found = {f"metaphys.{name}": getattr(metaphys, name) for name in metaphys.__all__}
    for package in SUBPACKAGES:
        try:
            module = importlib.import_module(f"metaphys.{package}")
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("metaphys"):
                raise
            continue  # an optional dependency is not installed
        names = getattr(module, "__all__", [])
        found |= {f"metaphys.{package}.{name}": getattr(module, name) for name in names}
    return found


PUBLIC = _public()


# Shown where they are used, or not runnable without what is not here.
WITHOUT_EXAMPLE = {
    "metaphys._runs.load_tensors": "the example of `save_tree` shows all four",
    "metaphys._runs.load_tree": "likewise",
    "metaphys._runs.read_metadata": "likewise",
    "metaphys.cli.main": "a command: its --help shows how",
    "metaphys.data.mnist": "reads files that have to be downloaded",
    "metaphys.data.talkers": "reads a file that has to be downloaded",
    "metaphys.data.vowels": "reads a file that has to be downloaded",
    "metaphys.physics.replay": "the example of `record` shows both",
}


def _holds_data(thing: object) -> bool:
    """A named tuple, a dataclass, an exception or an alias: its fields are its documentation."""
    if not inspect.isclass(thing):
        return not callable(thing) or not hasattr(thing, "__module__")
    return (
        hasattr(thing, "_fields")
        or hasattr(thing, "__dataclass_fields__")
        or issubclass(thing, Exception)
        or inspect.isabstract(thing)
    )


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_is_documented(name):
    thing = PUBLIC[name]
    if inspect.ismodule(thing):
        assert thing.__doc__
        return
    if not (inspect.isclass(thing) or inspect.isroutine(thing)):
        return  # an alias or a constant
    documentation = inspect.getdoc(thing) or ""
    assert len(documentation) > 20, f"{name} has no docstring"
    shown = ">>>" in documentation or name in WITHOUT_EXAMPLE
    assert _holds_data(thing) or shown, f"{name} has no example"


@pytest.mark.parametrize("module", [metaphys, metaphys.ops, metaphys.optim, metaphys.meta])
def test_the_door_lists_each_name_once(module):
    assert len(module.__all__) == len(set(module.__all__))
    assert all(hasattr(module, name) for name in module.__all__)


# The forms of one optimizer -----------------------------------------------------------------

FORMS = {
    "sgd": (metaphys.sgd, metaphys.SGD, metaphys.MetaSGD, torch.optim.SGD),
    "adam": (metaphys.adam, metaphys.Adam, metaphys.MetaAdam, torch.optim.Adam),
    "adamw": (metaphys.adamw, metaphys.AdamW, metaphys.MetaAdamW, torch.optim.AdamW),
}
# TorchOpt's positional order, which differs between the functional and the other forms.
ORDER = {
    "sgd": (
        ["lr", "momentum", "dampening", "weight_decay", "nesterov"],
        ["lr", "momentum", "weight_decay", "dampening", "nesterov", "maximize"],
        ["lr", "momentum", "weight_decay", "dampening", "nesterov", "moment_requires_grad",
         "maximize"],
    ),
    "adam": (["lr", "betas", "eps", "weight_decay"],) * 3,
    "adamw": (["lr", "betas", "eps", "weight_decay"],) * 3,
}  # fmt: skip
# moment_requires_grad: only the meta form can use it by default. MetaSGD's and sgd's lr is
# required, as in TorchOpt; torch's SGD has a default.
OWN_DEFAULTS = {"moment_requires_grad", "lr"}


def _arguments(form, kind=None) -> dict[str, object]:
    parameters = inspect.signature(form).parameters.values()
    return {
        p.name: p.default
        for p in parameters
        if p.name not in ("params", "module") and (kind is None or p.kind is kind)
    }


@pytest.mark.parametrize("name", FORMS)
def test_names_and_defaults_agree_between_the_forms(name):
    functional, stateful, meta, torchs = map(_arguments, FORMS[name])
    assert set(meta) == {*functional, "first_order", "grad_callback", "truncate", "record"}
    assert set(stateful) == set(functional) - {"moment_requires_grad"}
    for argument, default in functional.items():
        for other in (stateful, meta):
            if argument in other and argument not in OWN_DEFAULTS:
                assert other[argument] == default, argument
        if argument in torchs and argument != "lr":
            assert torchs[argument] == default, argument
    assert stateful["lr"] == torchs["lr"]


@pytest.mark.parametrize("name", FORMS)
def test_positional_order_is_torchopts(name):
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    found = [list(_arguments(form, kind)) for form in FORMS[name][:3]]
    assert found == list(ORDER[name])


@pytest.mark.parametrize("name", FORMS)
def test_every_argument_reaches_the_rule(name):
    functional, stateful, meta, _ = FORMS[name]
    special = {
        "sgd": {"momentum": 0.7, "dampening": 0.0, "nesterov": True},
        "adam": {"betas": (0.8, 0.95), "eps": 1e-3, "eps_root": 1e-4},
        "adamw": {"betas": (0.8, 0.95), "eps": 1e-3, "eps_root": 1e-4, "mask": True},
    }[name]
    special |= {"lr": 0.05, "weight_decay": 0.3, "maximize": True}
    net = torch.nn.Linear(2, 1)
    rules = [
        functional(**special, moment_requires_grad=True),
        stateful(net.parameters(), **special).rule,
        meta(net, **special, moment_requires_grad=True).rule,
    ]
    for rule in rules:
        assert {k: rule.hyper[k] for k in special} == special
    assert rules[2].hyper["moment_requires_grad"] is True


# The tests mirror the package ---------------------------------------------------------------

MIRRORED = ("ops", "optim", "meta")


@pytest.mark.parametrize("package", MIRRORED)
def test_test_modules_mirror_the_package(package):
    modules = {path.stem.lstrip("_") for path in (PACKAGE / package).glob("*.py")}
    tests = {path.stem.removeprefix("test_") for path in (TESTS / package).glob("test_*.py")}
    assert tests and tests <= modules
