"""Which exceptions are the user's to mend, and how they are put."""

from __future__ import annotations

import importlib.util

from metaphys._errors import refused

EXTRA = {
    "tyro": "command lines",
    "rich": "tables and progress bars",
    "safetensors": "checkpoints",
    "sklearn": "the digits and the linear classifier",
    "scipy": "intervals",
    "matplotlib": "pictures",
    "jinja2": "reports",
}
"""The modules of the extra ``lab``, and what each is for."""

TOO_MUCH = ("can't allocate memory", "out of memory", "Overflow when unpacking long")
"""What torch says of sizes that it cannot have, in errors of several types."""

INSTALL = 'pip install "metaphys[lab]"'


def missing() -> list[str]:
    """The modules of the extra that are not installed."""
    return [name for name in EXTRA if importlib.util.find_spec(name) is None]


def installed_or_refuse() -> None:
    """Do nothing where the command line can parse and print.

    Raises:
        ModuleNotFoundError: tyro or rich is missing.
    """
    for name in ("tyro", "rich"):
        if importlib.util.find_spec(name) is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def explain(error: Exception) -> str | None:
    """One line for a user; ``None`` for what is no user's error but ours."""
    if isinstance(error, ModuleNotFoundError):
        root = (error.name or "").partition(".")[0]
        if root in EXTRA:
            return f"{root} is not installed; {EXTRA[root]} need it. Install it with {INSTALL}"
        return None
    if too_much(error):
        return (
            f"the options ask for more than this machine has ({_line(error)}). "
            "Lower those that count units, samples or steps."
        )
    kinds = (ValueError, OSError, ImportError)
    if isinstance(error, kinds) or refused(error) or device_failed(error):
        return _line(error)
    return None


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def too_much(error: Exception) -> bool:
    """Whether memory, or the integers of the tensor library, could not hold what was asked for."""
    if isinstance(error, (MemoryError, OverflowError)):
        return True
    said = str(error)
    told = isinstance(error, (RuntimeError, TypeError, ValueError)) and not refused(error)
    return told and any(words in said for words in TOO_MUCH)


def device_failed(error: Exception) -> bool:
    """Whether a device failed as often as it may."""
    from metaphys.physics import DeviceError

    return isinstance(error, DeviceError)
