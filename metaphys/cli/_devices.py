"""Devices of the user's own, by the place where they are made."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from metaphys._errors import check, refuse, refused
from metaphys.physics import Device, Ports


def named_device(place: str, others: str = "") -> Device:
    """What a name of the user's own stands for.

    Args:
        place: ``module:name`` or ``file.py:name`` of a device, or of a function without arguments
            that makes one.
        others: what else could have been given, for the error.

    Raises:
        ValueError: there is no such device, or making it raised.
    """
    module, _, name = place.rpartition(":")
    expected = f"{others}module:name or file.py:name of your own"
    relative = module.startswith(".") and not module.endswith(".py")
    fits = bool(module and name) and not relative
    check(fits, "device", expected=expected, got=repr(place))
    with _theirs(place):
        found: Any = getattr(_module(module), name, None)
    check(found is not None, "device", expected=f"there: {name} in {module}", got="no such name")
    if callable(found) and not isinstance(found, Device):
        with _theirs(place):
            found = found()
    kind, fits = type(found).__name__, isinstance(found, Device)
    check(fits, "device", expected="a Device, or a function that makes one", got=kind)
    fits, remedy = isinstance(getattr(found, "ports", None), Ports), "Set its attribute `ports`."
    check(fits, "device", expected="a Device with Ports", got=f"{kind} without", remedy=remedy)
    return found


@contextmanager
def _theirs(place: str) -> Iterator[None]:
    """Code of theirs, whose exceptions are of any kind: put as one of ours, with the line."""
    try:
        yield
    except (Exception, SystemExit) as error:
        if isinstance(error, Exception) and refused(error):
            raise
        refuse(
            "device",
            expected="made without an error",
            got=f"{place}, which raised {type(error).__name__}: {error}{_where(error)}",
            remedy="--debug shows the traceback.",
        )


def _where(error: BaseException) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    ours = last.filename == __file__ or isinstance(error, SyntaxError)  # which says it by itself
    return "" if ours else f" ({Path(last.filename).name}, line {last.lineno})"


def _module(name: str) -> Any:
    if not name.endswith(".py"):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name.partition(".")[0] and error.name != name:
                raise
            refuse("device", expected="of a module that can be imported", got=name)
    path = Path(name)
    check(path.is_file(), "device", expected="of an existing file", got=path)
    # A file called json.py must not take the place of the library's.
    known = path.stem if path.stem not in sys.modules else f"_device_{path.stem}"
    spec = importlib.util.spec_from_file_location(known, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[known] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[known]
        raise
    return module
