"""Which public names there are, and which of them have a place on a page of ``docs/api``."""

from __future__ import annotations

import functools
import importlib
import inspect
import re
from pathlib import Path
from typing import Any

import optree

import metaphys

PAGES = Path(__file__).parents[1] / "api"
_DIRECTIVE = re.compile(r"^::: ([\w.]+)", re.M)


@functools.cache
def public() -> dict[str, Any]:
    """Every name in the ``__all__`` of metaphys, its packages and its modules, by its dotted path.

    What a module passes on from another project is documented there.

    Raises:
        ModuleNotFoundError: an optional dependency of a package is missing.
    """
    found = {}
    for door in _doors():
        module = metaphys.adjoint if door == "metaphys.adjoint" else importlib.import_module(door)
        names = getattr(module, "__all__", [])
        found |= {f"{door}.{name}": getattr(module, name) for name in names}
    return {name: thing for name, thing in found.items() if _own(name, thing)}


def _doors() -> list[str]:
    folder = Path(metaphys.__file__).parent
    names = [path.parent.name for path in folder.glob("*/__init__.py")]
    names += [path.stem for path in folder.glob("*.py")]
    public = sorted(f"metaphys.{name}" for name in names if not name.startswith("_"))
    return ["metaphys", *public, "metaphys.adjoint"]


def _own(path: str, thing: Any) -> bool:
    passed_on = getattr(optree, path.rpartition(".")[2], None) is thing
    alias = path.startswith("metaphys.typing.")  # other names for what has its page elsewhere
    return not (inspect.ismodule(thing) or passed_on or alias)


@functools.cache
def documented() -> dict[str, str]:
    """The dotted paths that pages document, and the page of each."""
    return {
        name: page.name
        for page in sorted(PAGES.glob("*.md"))
        for name in _DIRECTIVE.findall(page.read_text(encoding="utf-8"))
    }


def missing() -> list[str]:
    """Public names without a page; another name of the same thing is enough."""
    known = {id(thing_at(name)) for name in documented()}
    return [name for name, thing in public().items() if id(thing) not in known]


def thing_at(path: str) -> Any:
    """What is at a dotted path.

    Raises:
        AttributeError, ModuleNotFoundError: nothing is.
    """
    if path in public():
        return public()[path]
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def place_of(thing: Any) -> str | None:
    """The documented path of ``thing`` (a method's is within its class), or ``None``."""
    for name in documented():
        if thing_at(name) is thing:
            return name
    owner, _, member = getattr(thing, "__qualname__", "").rpartition(".")
    if not owner or "<" in owner or member.startswith("_"):
        return None
    for name in documented():
        found = thing_at(name)
        if inspect.isclass(found) and found.__dict__.get(member) is thing:
            return f"{name}.{member}"
    return None
